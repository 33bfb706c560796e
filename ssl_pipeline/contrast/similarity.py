"""Similarities of anchors and keys, reduced over the keys that are negatives."""

import math

import torch
from torch import Tensor

from ssl_pipeline.types import Negatives

__all__ = ["log_mass", "widened"]


def widened(values: Tensor) -> Tensor:
    """Half precision as float32, since sums of many exponentials need it; anything wider as it is."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def log_mass(anchors: Tensor, negatives: Negatives, scale: float) -> Tensor:
    """The log of the summed, weighted exponentials of an anchor's similarities to its negatives.

    log sum_k w(a, k) exp(scale <a, k>), over the keys k of other samples than a's.

    Args:
        anchors: (A, D) unit-norm.
        negatives: Keys, whose samples they are, and weights.
        scale: Inverse temperature.

    Returns:
        (A,), at least float32; -inf for an anchor without negatives.
    """
    similarities = widened(anchors) @ widened(negatives.keys).T
    logits = similarities * scale
    if negatives.log_weight is not None:
        logits = logits + negatives.log_weight(similarities, 0)
    same = negatives.anchor_samples[:, None] == negatives.key_samples[None, :]
    return torch.logsumexp(logits.masked_fill(same, -math.inf), dim=1)
