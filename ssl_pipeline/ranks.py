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
suspended, closes nothing: the others notice that its pulse has stopped.
"""

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar, cast

from ssl_pipeline.errors import LostRankError
from ssl_pipeline.terminal import brief

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
"""After so long without a pulse a rank is lost."""


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


class _Pulses(threading.Thread):
    """Tells the other ranks that this one is alive, and knows when each of them was last heard of.

    Args:
        store: The store that all ranks share.
    """

    def __init__(self, store: Any):
        super().__init__(daemon=True)
        self._store, self._ended = store, threading.Event()
        self._heard: dict[int, tuple[int, float]] = {}  # rank -> its beats, and when they were new
        self._looked = 0.0
        self.meeting: Any = None  # that of all ranks that this one waits for, or has last waited for
        self.start()

    def run(self) -> None:
        """Beat until the end."""
        from torch.distributed import DistError

        while not self._ended.wait(_PULSE_SECONDS):
            try:
                self._store.add(f"pulse/{number()}", 1)
            except DistError:  # the store is gone, which whoever waits for others is told as well
                return

    def look(self) -> None:
        """Make sure that all ranks are alive.

        Raises:
            LostRankError: One of them has not been heard of for too long.
        """
        now = time.monotonic()
        if now - self._looked < _PULSE_SECONDS:
            return
        self._looked = now
        for rank in set(range(count())) - {number()}:
            beats = self._store.add(f"pulse/{rank}", 0)
            before, since = self._heard.get(rank, (-1, now))
            if beats != before:
                self._heard[rank] = beats, now
            elif now - since > _SILENCE_SECONDS:
                raise LostRankError(
                    f"Rank {rank} of this run (counted from 0) has not been heard of for {_SILENCE_SECONDS:g} s: its "
                    "machine is down or cut off, or the process is suspended."
                )

    def end(self) -> None:
        """Beat no more."""
        self._ended.set()
        self.join()


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
    """Return which of so many numbered things are in a part of them, from 0; parts differ by at most one.

    In the order of their numbers, parts are all of the things in their order.
    """
    return range(size * number // parts, size * (number + 1) // parts)


def share(size: int) -> range:
    """Return which of so many numbered things are this rank's; outside of `joined` a process has them all."""
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
    import torch.distributed as dist

    with answered():
        _meet(_pulses)
        parts: list[T | None] = [None] * count()
        dist.all_gather_object(parts, own)
    return cast("list[T]", parts)


def told(value: T) -> T:
    """Return what the first rank hands in; what the others hand in is not sent. See `gathered`."""
    if not _pulses:
        return value
    import torch.distributed as dist

    box = [value if leads() else None]
    with answered():
        _meet(_pulses)
        dist.broadcast_object_list(box, src=0)
    return cast("T", box[0])


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


def _meet(pulses: _Pulses) -> None:
    """Wait for all ranks, in Python, which hears Ctrl-C meanwhile."""
    import torch.distributed as dist

    pulses.meeting = dist.barrier(async_op=True)
    while not pulses.meeting.is_completed():
        time.sleep(_LOOK_SECONDS)
        pulses.look()
    pulses.meeting.wait()
