"""What ranks hand to each other. Where one of them has ended, the others say so, and wait for nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ssl_pipeline.errors import LostRankError
from ssl_pipeline.terminal import brief

__all__ = ["all_gather", "all_reduce", "broadcast"]


def all_reduce(tensor: Tensor, operation: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> None:
    """Replace a tensor by the sum, or another operation, of those of all ranks.

    Raises:
        LostRankError: Another rank has ended.
    """
    with _answered():
        dist.all_reduce(tensor, operation)


def all_gather(own: Tensor) -> list[Tensor]:
    """Return the tensors of all ranks, which are of one shape.

    Raises:
        LostRankError: Another rank has ended.
    """
    every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    with _answered():
        dist.all_gather(every, own)
    return every


def broadcast(said: Any) -> Any:
    """Return what the first rank says.

    Raises:
        LostRankError: Another rank has ended.
    """
    box = [said]
    with _answered():
        dist.broadcast_object_list(box, src=0)
    return box[0]


@contextmanager
def _answered() -> Iterator[None]:
    """Put what a backend says of a connection that has broken into an error for users."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise LostRankError(
            "Another process of this run has ended before its time: what it has written, or torchrun, says why. The "
            f"last checkpoint stays. The connection says: {brief(str(error).partition('. This is')[0], 200)}."
        ) from error
