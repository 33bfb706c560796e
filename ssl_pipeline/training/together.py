"""Training by several processes: each encodes a share of the batch, and all compare the whole of it.

Every rank is given the embeddings of all, and computes heads, negatives and the loss of the whole batch as one process
would; then each takes the gradient of its own share back through the network. So a loss, a strategy or a queue is the
same on all ranks without knowing of them, and so are their figures. What travels are embeddings, once, and gradients.

The loss and its heads are computed by each rank again. That is little beside a backbone: for SimCLR with ResNet-50 at
224 px, about a thousandth of the network's operations per rank.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssl_pipeline import ranks
from ssl_pipeline.training.collectives import all_gather, all_reduce
from ssl_pipeline.types import Encoded

__all__ = ["ALONE", "Ranks", "joined"]

_PATIENCE = timedelta(minutes=30)
"""Time to wait for another rank within a step, of which each has an equal share."""
_BUCKET_BYTES = 2**25
"""Bytes of gradients that travel at once; they take as much memory again meanwhile."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, and which of them this one is.

    Attributes:
        number: The number of this rank, from 0.
        count: The number of ranks.
    """

    number: int
    count: int

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes."""
        return self.number == 0

    def share(self, size: int) -> slice:
        """Return which rows of a batch this rank encodes; shares differ by at most one row."""
        return self._share_of(self.number, size)

    def gathered(self, encoded: Encoded, size: int) -> Encoded:
        """Return what all ranks have encoded: name -> (N, ...), with a graph, of shares (n, ...) of N rows.

        Gradients of the share are multiplied by the number of ranks, as those of weights are averaged over these.
        """
        if self.count == 1:
            return encoded
        return {name: _gather(value, self, size) for name, value in encoded.items()}

    def average_gradients(self, module: nn.Module) -> None:
        """Replace gradients by their means over ranks."""
        self._average([weight.grad for weight in module.parameters() if weight.grad is not None])

    def average_statistics(self, module: nn.Module) -> None:
        """Replace running statistics of batch norms, which see a rank's share alone, by their means over ranks."""
        norms = [
            norm for norm in module.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.training
        ]
        buffers = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
        self._average([buffer for buffer in buffers if buffer is not None])

    def any_of(self, *flags: bool) -> list[bool]:
        """Say of each flag whether it is raised on any rank."""
        if self.count == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.uint8)  # on the CPU, so that no device is waited for
        all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def told(self, text: str) -> str:
        """Return what the first rank says."""
        return ranks.told(text)

    def rows(self, size: int) -> list[int]:
        """Return how many rows of a batch each rank encodes."""
        shares = (self._share_of(each, size) for each in range(self.count))
        return [share.stop - share.start for share in shares]

    def _share_of(self, number: int, size: int) -> slice:
        part = ranks.part(number, self.count, size)
        return slice(part.start, part.stop)

    @torch.no_grad()
    def _average(self, tensors: Iterable[Tensor]) -> None:
        if self.count == 1:
            return
        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.flatten() for tensor in bucket])
            all_reduce(flat)
            flat /= self.count
            for tensor, mean in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
                tensor.copy_(mean.view_as(tensor))


ALONE = Ranks(0, 1)


@contextmanager
def joined(device: torch.device) -> Iterator[Ranks]:
    """Train with the other ranks that `torchrun` has started, if any, until the block ends; see `ranks.joined`.

    Args:
        device: The device of this rank.

    Raises:
        LostRankError: Another rank has ended before its time, or keeps the others waiting for half an hour.
    """
    if ranks.count() == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # what names no device is on this rank's own
    with ranks.joined("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", _PATIENCE):
        yield Ranks(ranks.number(), ranks.count())


class _Gathered(torch.autograd.Function):
    """Rows of all ranks, of which the gradient of the own ones is this rank's to take further."""

    @staticmethod
    def forward(ctx: Any, own: Tensor, group: Ranks, size: int) -> Tensor:
        ctx.group, ctx.size = group, size
        rows = group.rows(size)
        padded = own.new_zeros(max(rows), *own.shape[1:])
        padded[: len(own)] = own
        return torch.cat([part[:count] for part, count in zip(all_gather(padded), rows, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return gradients[0][ctx.group.share(ctx.size)] * ctx.group.count, None, None


def _gather(own: Tensor, group: Ranks, size: int) -> Tensor:
    gathered: Tensor = _Gathered.apply(own.contiguous(), group, size)
    return gathered


def _buckets(tensors: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield tensors of one type in their order, as many at a time as fit into a bucket, at least one."""
    waiting: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        bucket = waiting.setdefault(tensor.dtype, [])
        if bucket and sum(each.nbytes for each in bucket) + tensor.nbytes > _BUCKET_BYTES:
            yield bucket
            bucket = waiting[tensor.dtype] = []
        bucket.append(tensor)
    yield from waiting.values()
