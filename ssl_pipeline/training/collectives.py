"""Collective operations between ranks. If one rank has ended, the others raise an error instead of waiting for it."""

from contextlib import AbstractContextManager

import torch
import torch.distributed as dist
from torch import Tensor

from ssl_pipeline import ranks

__all__ = ["all_gather", "all_reduce"]


def all_reduce(tensor: Tensor, operation: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM) -> None:
    """Replace a tensor by the sum, or another reduction, of the tensors of all ranks.

    Raises:
        LostRankError: Another rank has ended.
    """
    with _answered():
        dist.all_reduce(tensor, operation)


def all_gather(own: Tensor) -> list[Tensor]:
    """Return the tensors of all ranks, which must have the same shape.

    Raises:
        LostRankError: Another rank has ended.
    """
    every = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    with _answered():
        dist.all_gather(every, own)
    return every


def _answered() -> AbstractContextManager[None]:
    return ranks.answered("The last checkpoint is kept.")
