"""Training with several processes: each rank encodes a share of the batch, and each compares the whole batch.

Every rank receives the embeddings of all ranks, and computes the heads, the negatives and the loss of the whole batch
as one process would. The gradient of its own share then goes back through its network. Losses, strategies and queues
are thus equal on all ranks without knowing of them, and so are their figures. Embeddings are exchanged once per step,
and so are gradients.

Each rank repeats the computation of the heads and the loss. This costs little compared with a backbone: for SimCLR with
ResNet-50 at 224 px, about 0.1% of the network's operations per rank.
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
"""Time to wait for another rank within a step. Their shares of a step are equal, so ranks take about equally long."""
_BUCKET_BYTES = 2**25
"""Bytes of gradients that are exchanged at once, which temporarily takes the same amount of memory again."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, and the number of this one among them.

    Attributes:
        number: The number of this rank, from 0.
        count: The number of ranks.
    """

    number: int
    count: int

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes files."""
        return self.number == 0

    def share(self, size: int) -> slice:
        """Return the rows of a batch that this rank encodes; shares differ by at most one row."""
        return self._share_of(self.number, size)

    def gathered(self, encoded: Encoded, size: int) -> Encoded:
        """Gather the encoded shares of all ranks.

        Gradients of this rank's share are multiplied by the number of ranks, as gradients of weights are averaged over
        ranks afterwards.

        Args:
            encoded: The share of this rank: name -> (n, ...).
            size: N, the number of rows of the whole batch.

        Returns:
            The whole batch: name -> (N, ...), with an autograd graph.
        """
        if self.count == 1:
            return encoded
        return {name: _gather(value, self, size) for name, value in encoded.items()}

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients of parameters by their means over ranks."""
        self._average(weight.grad for weight in parameters if weight.grad is not None)

    def average_statistics(self, module: nn.Module) -> None:
        """Replace running statistics of batch norms that see only a rank's share by their means over ranks."""
        norms = [
            norm for norm in module.modules() if isinstance(norm, nn.modules.batchnorm._BatchNorm) and norm.training
        ]
        buffers = [buffer for norm in norms for buffer in (norm.running_mean, norm.running_var)]
        self._average([buffer for buffer in buffers if buffer is not None])

    def any_of(self, *flags: bool) -> list[bool]:
        """Return for each flag whether it is true on any rank."""
        if self.count == 1:
            return list(flags)
        raised = torch.tensor(flags, dtype=torch.uint8)  # on the CPU, so as not to wait for a device
        all_reduce(raised, dist.ReduceOp.MAX)
        return [bool(flag) for flag in raised.tolist()]

    def told(self, text: str) -> str:
        """Return the text that the first rank passes; all ranks must call this."""
        return ranks.told(text)

    def rows(self, size: int) -> list[int]:
        """Return the number of rows of a batch that each rank encodes."""
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
    """Join the other ranks that `torchrun` has started, if any, for the duration of the block; see `ranks.joined`.

    Args:
        device: The device of this rank.

    Raises:
        LostRankError: Another rank has ended early, or has kept this one waiting for half an hour.
    """
    if ranks.count() == 1:
        yield ALONE
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # the default for tensors that name no device number
    with ranks.joined("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo", _PATIENCE):
        yield Ranks(ranks.number(), ranks.count())


class _Gathered(torch.autograd.Function):
    """Rows of all ranks; the backward pass continues with the gradient of this rank's rows."""

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
    """Yield groups of tensors of one type, in order, as many as fit into a bucket and at least one."""
    waiting: dict[torch.dtype, list[Tensor]] = {}
    for tensor in tensors:
        bucket = waiting.setdefault(tensor.dtype, [])
        if bucket and sum(each.nbytes for each in bucket) + tensor.nbytes > _BUCKET_BYTES:
            yield bucket
            bucket = waiting[tensor.dtype] = []
        bucket.append(tensor)
    yield from waiting.values()
