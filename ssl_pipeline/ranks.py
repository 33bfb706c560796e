"""Which of the processes that work on one thing this one is, as `torchrun` tells each of them, and what they share.

A stage that shares its work has all of its ranks run it:

    with ranks.joined():
        own = [embed(files[number]) for number in ranks.share(len(files))]
        whole = [row for part in ranks.gathered(own) for row in part]
        if ranks.leads():
            write(whole)

A process that was started by itself has all of the work, and gathers what it has. `ssl_pipeline.training.together` adds
what training needs besides, whose ranks exchange tensors on their devices.

A rank that ends closes its connections, and the others hear that at once. One whose machine is gone, or that is
suspended, closes nothing: the others notice that its pulse has stopped, or that nobody answers where pulses are kept.
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
"""Time to wait for a rank whose share takes longer and whose pulse goes on."""
_LOOK_SECONDS, _PULSE_SECONDS = 0.01, 5.0
_SILENCE_SECONDS = 300.0
"""Time without a pulse after which a rank is lost. It is counted in what this process does meanwhile, so that the time
that this one is suspended itself is not taken for a silence of others."""


def count() -> int:
    """Return the number of processes, its ranks; 1 for a process that was started by itself."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def launched() -> bool:
    """Say whether a launcher has started this process as one of its ranks, if only of one."""
    return "RANK" in os.environ


def local_count() -> int:
    """Return the number of ranks on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def number() -> int:
    """Return the number of this rank, from 0."""
    return int(os.environ.get("RANK", "0"))


def local_number() -> int:
    """Return the number of this rank among those of its machine, from 0: that of its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def available_cores() -> int:
    """Return the number of cores that this process may use, beside others of its machine."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_cores() -> int:
    """Return the number of cores that are this rank's share of those of its machine, at least 1."""
    return max(1, available_cores() // local_count())


def leads() -> bool:
    """Say whether this is the rank that speaks and writes."""
    return number() == 0


class _Silence:
    """How often in a row a number of beats was the same as before."""

    def __init__(self) -> None:
        self._beats, self.times = -1, 0

    def count(self, beats: int) -> None:
        """Take in the present number of beats."""
        self.times = self.times + 1 if beats == self._beats else 0
        self._beats = beats


class _Pulses(threading.Thread):
    """Tells the other ranks that this one is alive, and counts for how long each of them has been silent.

    Only the thread speaks with the store, whose answer may never come: no timeout holds for `add`. Whoever waits for
    others reads what the thread has noted.

    Args:
        store: The store that all ranks share.
    """

    def __init__(self, store: Any):
        super().__init__(daemon=True)
        self._store, self._ended = store, threading.Event()
        self._silences = {rank: _Silence() for rank in range(count()) if rank != number()}
        self._answers, self._unanswered = 0, _Silence()
        self._broken: Exception | None = None
        self.meeting: Any = None  # what all ranks do together and this one waits for, or has last waited for

    def run(self) -> None:
        """Beat until the end."""
        from torch.distributed import DistError

        while not self._ended.wait(_PULSE_SECONDS):
            try:
                self.beat()
            except DistError as error:
                self._broken = error
                return

    def beat(self) -> None:
        """Beat once, and ask for the beats of the others where they are waited for."""
        self._store.add(f"pulse/{number()}", 1)
        if self.meeting is not None and not self.meeting.is_completed():
            for rank, silence in self._silences.items():
                silence.count(self._store.add(f"pulse/{rank}", 0))
        self._answers += 1

    def look(self) -> None:
        """Make sure that all ranks are alive, every `_LOOK_SECONDS` while they are waited for; it never blocks.

        Raises:
            LostRankError: One of them has not been heard of for too long.
        """
        if self._broken:
            raise self._broken
        for rank, silence in self._silences.items():
            if silence.times * _PULSE_SECONDS > _SILENCE_SECONDS:
                raise _silent(f"Rank {rank} of this run (counted from 0) has not been heard of")
        self._unanswered.count(self._answers)
        if self._unanswered.times * _LOOK_SECONDS > _SILENCE_SECONDS:
            place = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
            raise _silent(f"Rank 0 of this run, or its torchrun, has not answered at {shown(place, 100)}")

    def end(self) -> None:
        """Beat no more; a thread that waits for an answer that does not come is left behind."""
        self._ended.set()
        self.join(_PULSE_SECONDS)


def _silent(what: str) -> LostRankError:
    return LostRankError(
        f"{what} for {_SILENCE_SECONDS:g} s: its machine is down or cut off, or the process is suspended."
    )


_pulses: _Pulses | None = None  # where this process is in a block of `joined`


@contextmanager
def joined(backend: str = "gloo", patience: timedelta = _PATIENCE) -> Iterator[None]:
    """Work with the other ranks, if there are any, until the block ends; a block that succeeds ends on all at once.

    Args:
        backend: What carries tensors, in torch's words.
        patience: Time to wait for another rank that is alive, in whatever all ranks do together.

    Raises:
        LostRankError: Another rank has ended before its time, or has not been heard of for minutes.
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
        gathered(None)  # a launcher takes ranks that end minutes before the others for lost
    finally:
        _pulses.end()
        meeting, _pulses = _pulses.meeting, None
        # where others are still waited for, this would wait for them: the process closes its connections at its end
        if meeting is None or meeting.is_completed():
            dist.destroy_process_group()


def part(number: int, parts: int, size: int) -> range:
    """Return the range of items that belong to one part; the sizes of parts differ by at most one.

    The parts, in their order, cover all items in theirs.

    Args:
        number: The number of the part, from 0.
        parts: The number of parts.
        size: The number of items.
    """
    return range(size * number // parts, size * (number + 1) // parts)


def share(size: int) -> range:
    """Return the range of items, of `size`, that belong to this rank; outside of `joined` a process has them all."""
    return part(number(), count(), size) if _pulses else range(size)


def gathered(own: T) -> list[T]:
    """Return what each rank hands in, in the order of the ranks, to all of them; outside of `joined`, its own part.

    All ranks call it, as often and in the same order. It waits for the slowest.

    Args:
        own: The part of this rank, which pickle takes.

    Raises:
        LostRankError: Another rank has ended before its time, or has not been heard of for minutes.
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
    """Return what the first rank hands in; what the others hand in is not sent. See `gathered`."""
    return gathered(value if leads() else cast("T", None))[0] if _pulses else value


@contextmanager
def answered(also: str = "") -> Iterator[None]:
    """Put what a backend says of a connection that has broken into an error for users; other errors are our own.

    Args:
        also: A sentence about what is left of the work.

    Raises:
        LostRankError: Another rank has ended before its time.
    """
    import torch.distributed as dist

    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        sentences = [
            "Another process of this run has ended before its time: what it has written, or torchrun, says why.",
            also,
            f"The connection says: {brief(str(error).partition('. This is')[0], 200)}.",
        ]
        raise LostRankError(" ".join(filter(None, sentences))) from error


def _wait(pulses: _Pulses, meeting: Any) -> None:
    """Wait for what all ranks do together, in Python, which hears Ctrl-C meanwhile."""
    pulses.meeting = meeting
    while not meeting.is_completed():
        time.sleep(_LOOK_SECONDS)
        pulses.look()
    meeting.wait()
