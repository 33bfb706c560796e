"""Figures of the negatives in a softmax, under a margin and in a queue, and the findings that these lead to."""

import math
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ssl_pipeline.contrast.ranking import masked_tiles, nearest
from ssl_pipeline.contrast.similarity import total_weight, widened
from ssl_pipeline.types import Finding, Negatives

__all__ = [
    "FEW_NEGATIVES",
    "few_negatives",
    "softmax_figures",
    "softmax_troubles",
    "stale_keys",
    "staleness",
    "wide_margin",
]

FEW_NEGATIVES = 4
"""Number of negatives below which they seldom include a class that the anchor could be mistaken for."""

_MAX_ANCHORS = 128  # anchors to measure, as only their mean is needed
_MIN_NEGATIVES_SEEN = 1.5  # negatives: below this, a single one makes up most of the gradient
_MAX_SEEN_SHARE = 0.99  # share of the negatives: above this, near and far negatives have equal weight
_MAX_VIOLATING_SHARE = 0.995  # share of the triplets: above this, hardly any satisfies the margin
_MAX_STALENESS = 0.25  # see `staleness`
_DISTANCE_OFFSET = 0.01  # cosine distance that is added to both, so that two tiny distances count as equal


@torch.no_grad()
def softmax_figures(anchors: Tensor, negatives: Negatives, temperature: float) -> dict[str, Tensor]:
    """Measure how many negatives an anchor has and how many of them its softmax attends to.

    Args:
        anchors: Anchors (A, D) of unit length.
        negatives: The negatives of these anchors.
        temperature: Softmax temperature, greater than 0.

    Returns:
        Means over at most 128 anchors: `negatives`, the number of negatives; and `negatives_seen`, the inverse of the
        sum of squared probabilities, (Σ e)² / Σ e², from 1 (a single negative) to the number of negatives.
    """
    anchor_count = min(_MAX_ANCHORS, len(anchors))
    rows = {name: row[:anchor_count] for name, row in negatives.rows.items()}
    negatives = replace(negatives, anchor_samples=negatives.anchor_samples[:anchor_count], rows=rows, class_prior=0.0)
    anchors = anchors[:anchor_count]
    first, second = widened(anchors).new_full((2, anchor_count), -torch.inf)
    for span, tiles in masked_tiles(anchors, negatives):
        for tile, similarities in tiles:
            weight = 0.0 if negatives.log_weight is None else negatives.log_weight(tile)
            for total, scale in ((first, 1 / temperature), (second, 2 / temperature)):
                mass = (scale * similarities + weight).logsumexp(dim=1)
                torch.logaddexp(total[span], mass, out=total[span])
    seen = (2 * first - second).exp().nan_to_num(0.0)
    return {"negatives": total_weight(anchors, negatives).mean(), "negatives_seen": seen.mean()}


def softmax_troubles(figures: Mapping[str, float], temperature: float) -> list[Finding]:
    """Judge the temperature by the figures of `softmax_figures`; the list is empty if all is well."""
    count, seen = figures["negatives"], figures["negatives_seen"]
    if count < FEW_NEGATIVES:
        return []  # with so few negatives, a softmax attends to one or to all at any temperature
    troubles = []
    if seen < _MIN_NEGATIVES_SEEN:
        troubles.append(
            Finding(
                "temperature too small",
                f"the temperature is too small ({temperature:g}): the softmax attends to {seen:.1f} of {count:.0f} "
                "negatives. Raise pretrain.loss: {temperature: ...}; 0.07 to 0.5 is usual.",
            )
        )
    if seen > _MAX_SEEN_SHARE * count:
        troubles.append(
            Finding(
                "temperature too large",
                f"the temperature is too large ({temperature:g}): the softmax attends to {seen:.0f} of {count:.0f} "
                "negatives, near and far ones alike. Lower pretrain.loss: {temperature: ...}; 0.07 to 0.5 is usual.",
            )
        )
    return troubles


def few_negatives(figures: Mapping[str, float], remedy: str) -> list[Finding]:
    """Report anchors with hardly any negatives.

    Args:
        figures: The figures of a row of the curves; without `negatives`, nothing is reported.
        remedy: A sentence by the negative-sampling strategy that says what to change.
    """
    count = figures.get("negatives", math.inf)
    if count >= FEW_NEGATIVES:
        return []
    return [
        Finding(
            "too few negatives",
            f"too few negatives ({count:.1f} per anchor): classes will be merged (under-clustering). {remedy}",
        )
    ]


def wide_margin(share: float, margin: float) -> list[Finding]:
    """Report a margin that hardly any triplet satisfies.

    Args:
        share: Share of the triplets that violate the margin, in [0, 1].
        margin: The margin.
    """
    if share <= _MAX_VIOLATING_SHARE:
        return []
    return [
        Finding(
            "margin too large",
            f"the margin is too large ({margin:g}): {share:.1%} of the triplets violate it. Lower pretrain.loss: "
            "{margin: ...}.",
        )
    ]


@torch.no_grad()
def staleness(keys: Tensor, samples: Tensor, oldest: Tensor, oldest_samples: Tensor) -> Tensor:
    """Return how much farther a key's nearest neighbour is among remembered keys than among those of the batch.

    The result is a scalar: the ratio of the mean cosine distances, less 1. Images are drawn at random, so the nearest
    of equally many keys of other images is equally near, and the result is 0, unless the encoder has changed since it
    made the old keys.

    Args:
        keys: Unit-norm keys (K, D) of the batch.
        samples: Ids (K,) int64 of their images.
        oldest: Unit-norm keys (n, D), the oldest that are remembered. As many are used as the batch has keys of other
            images; if there are fewer, none of them can be old, and the result is 0.
        oldest_samples: Ids (n,) int64 of their images; an image's own old key does not count as a neighbour.
    """
    others = int((samples != samples[0]).sum())
    oldest, oldest_samples = oldest[:others], oldest_samples[:others]
    if len(oldest) < max(1, others):
        return keys.new_tensor(0.0)
    anchor_samples = samples[:_MAX_ANCHORS]
    now = nearest(keys[:_MAX_ANCHORS], Negatives(keys, anchor_samples, samples), 1).similarities[:, 0]
    then = nearest(keys[:_MAX_ANCHORS], Negatives(oldest, anchor_samples, oldest_samples), 1).similarities[:, 0]
    now, then = (found[found.isfinite()].mean() for found in (now, then))  # -inf: all keys are of its image
    return ((1 - then + _DISTANCE_OFFSET) / (1 - now + _DISTANCE_OFFSET) - 1).nan_to_num(0.0)


def stale_keys(figures: Mapping[str, float], shorter: str) -> list[Finding]:
    """Report remembered keys that are no longer comparable with new ones.

    Args:
        figures: The figures of a row of the curves, with `key_staleness`, the result of `staleness`.
        shorter: Name of the strategy's option that sets how many keys are remembered.
    """
    if figures["key_staleness"] <= _MAX_STALENESS:
        return []
    return [
        Finding(
            "stale queue",
            f"the queue is stale: the nearest of its oldest keys are {figures['key_staleness']:.0%} farther away than "
            "the nearest new keys, as the encoder has changed since. Use a slow teacher (pretrain.pretext_task: "
            f"{{momentum: 0.99}}), lower pretrain.negatives: {{{shorter}: ...}}, or lower "
            "pretrain.optimizer.learning_rate.",
        )
    ]
