"""How a softmax over negatives is doing, in figures that a few anchors are enough for, and what they say."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ssl_pipeline.contrast.similarity import log_mass, total_weight
from ssl_pipeline.types import Negatives

__all__ = ["FEW_NEGATIVES", "few_negatives", "softmax_figures", "softmax_troubles"]

FEW_NEGATIVES = 4
"""Fewer of them seldom hold one of a class that an anchor could be mistaken for."""

_ANCHORS = 128  # that are looked at: their mean is all that is wanted
_SEEN = 1.5  # negatives, below which a single one makes up most of the gradient


@torch.no_grad()
def softmax_figures(anchors: Tensor, negatives: Negatives, temperature: float) -> dict[str, Tensor]:
    """How many negatives an anchor has, and how many of them its softmax attends to, each a mean over some anchors.

    The latter is the inverse of the sum of squared probabilities, (Σ e)² / Σ e²: from 1 (a single one) to their number.

    Args:
        anchors: (A, D) unit-norm.
        negatives: Their negatives.
        temperature: Of the softmax.
    """
    few = min(_ANCHORS, len(anchors))
    rows = {name: row[:few] for name, row in negatives.rows.items()}
    negatives = replace(negatives, anchor_samples=negatives.anchor_samples[:few], rows=rows, class_prior=0.0)
    first, second = (log_mass(anchors[:few], negatives, scale / temperature) for scale in (1, 2))
    seen = (2 * first - second).exp().nan_to_num(0.0)
    return {"negatives": total_weight(anchors[:few], negatives).mean(), "negatives_seen": seen.mean()}


def softmax_troubles(figures: Mapping[str, float], temperature: float) -> list[str]:
    """What the figures of `softmax_figures` say, in sentences; empty if all is well."""
    troubles = few_negatives(figures)
    count, seen = figures["negatives"], figures["negatives_seen"]
    if not troubles and seen < _SEEN:
        troubles.append(
            f"the temperature is too small ({temperature:g}): of {count:.0f} negatives the softmax sees {seen:.1f}. "
            "Raise pretrain.loss: {temperature: ...}; 0.07 to 0.5 is usual."
        )
    return troubles


def few_negatives(figures: Mapping[str, float]) -> list[str]:
    """Whether anchors have hardly any negatives."""
    count = figures["negatives"]
    if count >= FEW_NEGATIVES:
        return []
    return [
        f"too few negatives ({count:.1f} an anchor): classes will be merged (under-clustering). Raise "
        "pretrain.batch_size, or take pretrain.negatives: {name: queue} or {name: cross_batch}."
    ]
