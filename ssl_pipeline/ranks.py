"""Which of the processes that work on one thing this one is, as `torchrun` tells each of them."""

import os

__all__ = ["count", "launched", "leads", "local_count", "local_number", "number"]


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
