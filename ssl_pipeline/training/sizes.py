"""Trials of image sizes on a backbone, so that unsuitable ones are refused before training, not in its first step."""

import copy
from collections.abc import Callable

import torch
from torch import nn

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.types import Encoder

__all__ = ["NOT_TAKEN", "multiples_near", "nearest_size", "refusal"]

NOT_TAKEN = (ArithmeticError, AssertionError, LookupError, RuntimeError, ValueError)
"""Exceptions that networks raise for images of a size that they do not take."""
_USUAL_SIDES = (16, 32, 48, 64, 96, 128, 160, 192, 224, 240, 256, 288, 384)
"""Sides in px that networks are usually made for."""


def refusal(encoder: Encoder, size: int) -> str:
    """Say why an encoder cannot be trained on images of a size in px; empty if it can. The encoder is not changed."""
    trial = copy.deepcopy(encoder)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            shapes = {
                tuple(trial.train(mode)(torch.rand(2, encoder.images.channels, size, size)).shape)
                for mode in (True, False)
            }
    except NOT_TAKEN:
        return "it does not take this size"  # the network's own message would be about the shape of some tensor
    if shapes != {(2, encoder.embedding_dim)}:
        return f"embeddings of shape {min(shapes)[1:]} instead of ({encoder.embedding_dim},)"
    patch = _patch(encoder)
    if size % patch:
        return f"it cuts images into patches of {patch} px and would not see the last {size % patch} of {size} px"
    return ""


def nearest_size(build: Callable[[int], Encoder], encoder: Encoder, size: int) -> int | None:
    """Return the size in px nearest to a refused one at which a backbone can be trained.

    Args:
        build: A function that makes an encoder with the same backbone for images of a size in px; it may raise a
            `ConfigError`.
        encoder: The encoder, which refuses `size`.
        size: The refused side in px.

    Returns:
        One of the sizes that networks are usually made for, or a multiple of the patch; None if none of them is taken.
    """
    below = size - size % _patch(encoder)
    sides = {*_USUAL_SIDES, below, below + _patch(encoder)} - {0, size}
    for other in sorted(sides, key=lambda side: (abs(side - size), side)):
        try:
            if not refusal(build(other), other):
                return other
        except ConfigError:
            continue
    return None


def multiples_near(encoder: Encoder, side: float) -> list[int]:
    """Return whole sides near `side`, in px: the nearest multiple of the patch, then of 2, 4, ... 32 patches.

    Some networks only take multiples of their stride, which is a power of two times the side of a patch.
    """
    units = [_patch(encoder) * 2**power for power in range(6)]
    return list(dict.fromkeys(unit * round(side / unit) for unit in units))


def _patch(encoder: Encoder) -> int:
    """Return the side in px of the patches that a network's first convolution cuts images into; 1 if it cuts none."""
    first = next((module for module in encoder.backbone.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or first.in_channels != encoder.images.channels or first.kernel_size != first.stride:
        return 1
    return first.stride[0]
