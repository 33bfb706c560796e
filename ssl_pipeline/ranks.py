"""Which of the processes that work on one thing this one is, as `torchrun` tells each of them, and what they share.

A stage that shares its work has all of its ranks run it:

    with ranks.joined():
        own = [embed(files[number]) for number in ranks.share(len(files))]
        whole = [row for part in ranks.gathered(own) for row in part]
        if ranks.leads():
            write(whole)

A process that was started by itself has all of the work, and gathers what it has. `ssl_pipeline.training.together` does
the same for training, whose ranks exchange tensors on their devices.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar, cast

from ssl_pipeline.errors import LostRankError
from ssl_pipeline.terminal import brief

__all__ = [
    "answered",
    "count",
    "gathered",
    "joined",
    "launched",
    "leads",
    "local_count",
    "local_number",
    "number",
    "share",
    "told",
]

T = TypeVar("T")

_PATIENCE = timedelta(days=30)
"""Time to wait for a rank whose share takes longer: one that has died is noticed by its closed connections."""
_LOOK_SECONDS = 0.01

_together = False  # whether this process is in a block of `joined`


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


def leads() -> bool:
    """Say whether this is the rank that speaks and writes."""
    return number() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Work with the other ranks, if there are any, until the block ends; a block that succeeds ends on all at once.

    Raises:
        LostRankError: Another rank has ended before its time.
    """
    global _together
    if count() == 1:
        yield
        return
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=_PATIENCE)
    _together = True
    try:
        yield
        gathered(None)  # a launcher takes ranks that end minutes before the others for lost
    except LostRankError:
        dist.destroy_process_group()
        raise
    finally:
        _together = False
    # Not where the block has failed over something else: this would wait for ranks that work on. The end of the
    # process, which comes then, closes its connections, and that is what the others hear.
    dist.destroy_process_group()


def share(size: int) -> range:
    """Return which of so many numbered things are this rank's; shares differ by at most one.

    In the order of the ranks, shares are all of them in their order. Outside of `joined` a process has them all.
    """
    if not _together:
        return range(size)
    return range(size * number() // count(), size * (number() + 1) // count())


def gathered(part: T) -> list[T]:
    """Return what each rank hands in, in the order of the ranks, to all of them; outside of `joined`, its own part.

    All ranks call it, as often and in the same order. It waits for the slowest.

    Args:
        part: The part of this rank, which pickle takes.

    Raises:
        LostRankError: Another rank has ended before its time.
    """
    if not _together:
        return [part]
    import torch.distributed as dist

    with answered():
        _meet()
        parts: list[T | None] = [None] * count()
        dist.all_gather_object(parts, part)
    return cast("list[T]", parts)


def told(value: T) -> T:
    """Return what the first rank hands in; what the others hand in is not sent. See `gathered`."""
    if not _together:
        return value
    import torch.distributed as dist

    box = [value if leads() else None]
    with answered():
        _meet()
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


def _meet() -> None:
    """Wait for all ranks, in Python, which hears Ctrl-C meanwhile."""
    import torch.distributed as dist

    meeting = dist.barrier(async_op=True)
    while not meeting.is_completed():
        time.sleep(_LOOK_SECONDS)
    meeting.wait()
