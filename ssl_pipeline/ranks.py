"""Ranks: the processes that `torchrun` starts to work on one task, and how they share work and exchange results.

A stage that shares its work runs in all ranks:

    with ranks.joined():
        own = [embed(files[number]) for number in ranks.share(len(files))]
        whole = [row for part in ranks.gathered(own) for row in part]
        if ranks.leads():
            write(whole)

A process that was started alone does all of the work, and gathers only its own results.
`ssl_pipeline.training.together` adds what training needs, where ranks exchange tensors on their devices.

A rank that ends closes its connections, which the others notice at once. A rank that is suspended, or whose machine is
lost, closes nothing. The others then notice that its pulse has stopped, or that the store of the pulses does not
answer.
"""

import os
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

from ssl_pipeline.errors import LostRankError
from ssl_pipeline.terminal import brief, shown

__all__ = [
    "answered",
    "available_cores",
    "count",
    "gathered",
    "joined",
    "launched",
    "leads",
    "local_count",
    "local_number",
    "number",
    "own_cores",
    "part",
    "share",
    "told",
]

T = TypeVar("T")

_PATIENCE = timedelta(days=30)
"""Time to wait for a rank whose share takes longer, as long as its pulse continues."""
_LOOK_SECONDS, _PULSE_SECONDS = 0.01, 5.0
_SILENCE_SECONDS = 300.0
"""Time without a pulse after which a rank is considered lost. It is measured by counting checks of this process, so
that time for which this process is suspended does not count as silence of the others."""


def count() -> int:
    """Return the number of ranks; 1 for a process that was started alone."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched() -> bool:
    """Return whether a launcher has started this process as a rank, even as the only one."""
    return "RANK" in os.environ


def local_count() -> int:
    """Return the number of ranks on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def number() -> int:
    """Return the number of this rank, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_number() -> int:
    """Return the number of this rank among those on its machine, from 0, which is also the number of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def available_cores() -> int:
    """Return the number of cores that this process may use, shared with other ranks on its machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_cores() -> int:
    """Return this rank's share of the cores of its machine, at least 1."""
    return max(1, available_cores() // local_count())


def leads() -> bool:
    """Return whether this is the first rank, which prints and writes."""
    return number() == 0


class _Silence:
    """Counter of how many times in a row the number of beats has not changed."""

    def __init__(self) -> None:
        self._beats, self.times = -1, 0

    def count(self, beats: int) -> None:
        """Record the current number of beats."""
        self.times = self.times + 1 if beats == self._beats else 0
        self._beats = beats


class _Pulses(threading.Thread):
    """Thread that tells the other ranks that this one is alive, and counts how long each of them has been silent.

    Only this thread talks to the store, which may never answer, because `add` has no timeout. Code that waits for other
    ranks reads what the thread has recorded.

    Args:
        store: Key-value store that all ranks share.
    """

    def __init__(self, store: Any):
        super().__init__(daemon=True)
        self._store, self._ended = store, threading.Event()
        self._silences = {rank: _Silence() for rank in range(count()) if rank != number()}
        self._answers, self._unanswered = 0, _Silence()
        self._broken: Exception | None = None
        self.meeting: Any = None  # collective operation that this rank waits for, or last waited for

    def run(self) -> None:
        """Beat until `end` is called."""
        from torch.distributed import DistError

        while not self._ended.wait(_PULSE_SECONDS):
            try:
                self.beat()
            except DistError as error:
                self._broken = error
                return

    def beat(self) -> None:
        """Beat once, and read the beats of the other ranks if this rank is waiting for them."""
        self._store.add(f"pulse/{number()}", 1)
        if self.meeting is not None and not self.meeting.is_completed():
            for rank, silence in self._silences.items():
                silence.count(self._store.add(f"pulse/{rank}", 0))
        self._answers += 1

    def look(self) -> None:
        """Check that all ranks are alive, without blocking; called every `_LOOK_SECONDS` while waiting for them.

        Raises:
            LostRankError: A rank has been silent for too long.
        """
        if self._broken:
            raise self._broken
        for rank, silence in self._silences.items():
            if silence.times * _PULSE_SECONDS > _SILENCE_SECONDS:
                raise _silent(f"Rank {rank} of this run (counted from 0) has not responded")
        self._unanswered.count(self._answers)
        if self._unanswered.times * _LOOK_SECONDS > _SILENCE_SECONDS:
            place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            raise _silent(f"Rank 0 of this run, or its torchrun, has not answered at {shown(place, 100)}")

    def end(self) -> None:
        """Stop beating; a thread that waits for an answer that never comes is abandoned."""
        self._ended.set()
        self.join(_PULSE_SECONDS)


def _silent(what: str) -> LostRankError:
    return LostRankError(
        f"{what} for {_SILENCE_SECONDS:g} s: its machine is down or unreachable, or the process is suspended."
    )


_pulses: _Pulses | None = None  # set inside a block of `joined`


@contextmanager
def joined(backend: str = "gloo", patience: timedelta = _PATIENCE) -> Iterator[None]:
    """Work with the other ranks, if any, inside the block; if the block succeeds, it ends on all ranks at once.

    Args:
        backend: Backend that exchanges tensors, as torch names it.
        patience: Time to wait for another rank that is alive in a collective operation.

    Raises:
        LostRankError: Another rank has ended early, or has not responded for minutes.
    """
    global _pulses
    if count() == 1:
        yield
        return
    import torch.distributed as dist
    from torch.distributed.rendezvous import rendezvous

    with answered():
        store, rank, size = next(rendezvous("env://"))
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=patience)
    _pulses = _Pulses(store)
    _pulses.start()
    try:
        yield
        gathered(None)  # a launcher considers ranks lost that end minutes before the others
    finally:
        _pulses.end()
        meeting, _pulses = _pulses.meeting, None
        # in an unfinished operation, this would wait for other ranks; the process closes its connections when it ends
        if meeting is None or meeting.is_completed():
            dist.destroy_process_group()


def part(number: int, parts: int, size: int) -> range:
    """Return the range of items that belong to one part; the sizes of parts differ by at most one.

    Together, the parts in their order cover all items in their order.

    Args:
        number: Number of the part, from 0.
        parts: Number of parts.
        size: Number of items.
    """
    return range(size * number // parts, size * (number + 1) // parts)


def share(size: int) -> range:
    """Return the range of items, out of `size`, that belong to this rank; all items outside of `joined`."""
    return part(number(), count(), size) if _pulses else range(size)


def gathered(own: T) -> list[T]:
    """Return the parts of all ranks, in the order of the ranks, on every rank; outside of `joined`, only its own part.

    All ranks must make the same calls in the same order. Each call waits for the slowest rank.

    Args:
        own: Part of this rank, which must be picklable.

    Raises:
        LostRankError: Another rank has ended early, or has not responded for minutes.
    """
    if not _pulses:
        return [own]
    import torch
    import torch.distributed as dist

    packed = torch.frombuffer(bytearray(pickle.dumps(own)), dtype=torch.uint8)
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(count())]
    with answered():
        _wait(_pulses, dist.all_gather(sizes, torch.tensor([len(packed)]), async_op=True))
        padded = packed.new_zeros(int(max(sizes)))
        padded[: len(packed)] = packed
        parts = [torch.empty_like(padded) for _ in sizes]
        _wait(_pulses, dist.all_gather(parts, padded, async_op=True))
    return [pickle.loads(part[: int(size)].numpy().tobytes()) for part, size in zip(parts, sizes, strict=True)]


def told(value: T) -> T:
    """Return the value of the first rank on every rank; values of other ranks are not sent. See `gathered`."""
    return gathered(value if leads() else cast("T", None))[0] if _pulses else value


@contextmanager
def answered(also: str = "") -> Iterator[None]:
    """Turn a backend's error about a broken connection into an error for users; other errors are bugs.

    Args:
        also: Sentence about what is left of the work.

    Raises:
        LostRankError: Another rank has ended early.
    """
    import torch.distributed as dist

    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        sentences = [
            "Another process of this run has ended early; its output, or that of torchrun, says why.",
            also,
            f"The connection reports: {brief(str(error).partition('. This is')[0], 200)}.",
        ]
        raise LostRankError(" ".join(filter(None, sentences))) from error


def _wait(pulses: _Pulses, meeting: Any) -> None:
    """Wait for a collective operation in Python, so that Ctrl-C is noticed."""
    pulses.meeting = meeting
    while not meeting.is_completed():
        time.sleep(_LOOK_SECONDS)
        pulses.look()
    meeting.wait()
