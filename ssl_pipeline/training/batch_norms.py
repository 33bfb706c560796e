"""Batch normalisation across ranks: each rank normalises its share by the mean and variance of the whole batch.

torch's layer for this (`torch.nn.SyncBatchNorm`) needs a GPU and replaces modules of the network. This implementation
replaces the function that all of these modules call.

Sources: Ioffe & Szegedy 2015 (1502.03167), algorithm 1 and the gradients of section 3; moments combined from several
parts: Chan et al. 1979, equation 2.1.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.training.collectives import all_gather, all_reduce

__all__ = ["over_all_ranks"]


@contextmanager
def over_all_ranks(count: int) -> Iterator[None]:
    """Make batch norms in training mode normalise over the images of all ranks, in value and gradient.

    With one rank, nothing changes. All ranks must call the same batch norms in the same order; running statistics are
    then equal on all of them. Within the block, torch's function is replaced. This reaches every kind of module, also
    if the backward pass calls it again on another thread.

    Args:
        count: The number of ranks.
    """
    if count == 1:
        yield
        return
    alone = F.batch_norm
    F.batch_norm = partial(_batch_norm, alone)
    try:
        yield
    finally:
        F.batch_norm = alone


def _batch_norm(
    alone: Any,
    input: Tensor,  # the names are those of torch
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        evaluated: Tensor = alone(input, running_mean, running_var, weight, bias, False, momentum, eps)
        return evaluated
    with torch.no_grad():
        mean, variance, count = _moments(input)
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * (count / (count - 1))).to(running_var.dtype), momentum)
    normalised: Tensor = _Normalised.apply(input, weight, bias, mean, variance, count, partial(alone, eps=eps), eps)
    return normalised


def _moments(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean (C,) and variance (C,) over images (n, C, ...) of all ranks, and the number of values per channel."""
    channels = images.shape[1]
    # not var_mean, which is several times slower on a CPU
    mean, variance = torch.batch_norm_update_stats(_wide(images), None, None, 0.0)
    own = torch.cat([mean, variance, mean.new_full((1,), images.numel() / channels)])
    every = torch.stack(all_gather(own))
    means, variances, counts = torch.split(every, [channels, channels, 1], dim=1)  # (W, C), (W, C), (W, 1)
    shares = counts / counts.sum()
    mean = (shares * means).sum(dim=0)
    return mean, (shares * (variances + (means - mean).square())).sum(dim=0), counts.sum()


class _Normalised(torch.autograd.Function):
    """Images minus their mean, divided by their standard deviation, where both depend on the images of all ranks."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        by_statistics: Any,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(images, weight, mean, torch.rsqrt(variance + eps), count)
        normalised: Tensor = by_statistics(images, mean, variance, weight, bias, training=False)
        return normalised

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight, mean, scale, count = ctx.saved_tensors
        axes, shape = _axes(images), (1, -1, *(1,) * (images.ndim - 2))
        gradient = _wide(gradients[0])
        normalised = (_wide(images) - mean.view(shape)) * scale.view(shape)
        own = torch.stack([gradient.sum(axes), (gradient * normalised).sum(axes)])  # (2, C)
        of_all = own.clone()
        all_reduce(of_all)
        shift, slope = of_all / count
        of_images = (gradient - shift.view(shape) - normalised * slope.view(shape)) * scale.view(shape)
        if weight is not None:
            of_images = of_images * weight.view(shape)
        of_weight = own[1].to(weight.dtype) if weight is not None else None
        of_bias = own[0].to(weight.dtype) if weight is not None else None
        return of_images.to(images.dtype), of_weight, of_bias, None, None, None, None, None


def _axes(images: Tensor) -> list[int]:
    """Return all axes except that of channels."""
    return [0, *range(2, images.ndim)]


def _wide(values: Tensor) -> Tensor:
    """Return values in float32 or wider, for exact sums."""
    return values if values.dtype == torch.float64 else values.float()
