"""How negatives are doing, in figures, and what these say: in a softmax, under a margin, in a queue."""

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
"""With fewer negatives than this, seldom is one among them of a class that the anchor could be mistaken for."""

_MAX_ANCHORS = 128  # that are looked at: their mean is all that is wanted
_MIN_NEGATIVES_SEEN = 1.5  # negatives, below which a single one makes up most of the gradient
_MAX_SEEN_SHARE = 0.99  # share of the negatives, above which near ones and far ones count alike
_MAX_VIOLATING_SHARE = 0.995  # share of the pairs, from which on a margin is what nothing attains
_MAX_STALENESS = 0.25  # see `staleness`
_DISTANCE_OFFSET = 0.01  # of a cosine distance: two that are both nearly 0 are equal


@torch.no_grad()
def softmax_figures(anchors: Tensor, negatives: Negatives, temperature: float) -> dict[str, Tensor]:
    """Return how many negatives an anchor has, and how many of them its softmax attends to: means over some anchors.

    The latter is the inverse of the sum of squared probabilities, (Σ e)² / Σ e²: from 1 (a single one) to their number.

    Args:
        anchors: Anchors (A, D) of unit length.
        negatives: The negatives of these anchors.
        temperature: The temperature of the softmax.
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
    """Say what the figures of `softmax_figures` say of the temperature; empty if all is well."""
    count, seen = figures["negatives"], figures["negatives_seen"]
    if count < FEW_NEGATIVES:
        return []  # of so few, the softmax sees one or all at any temperature
    troubles = []
    if seen < _MIN_NEGATIVES_SEEN:
        troubles.append(
            Finding(
                "temperature too small",
                f"the temperature is too small ({temperature:g}): of {count:.0f} negatives the softmax attends to "
                f"{seen:.1f}. Raise pretrain.loss: {{temperature: ...}}; 0.07 to 0.5 is usual.",
            )
        )
    if seen > _MAX_SEEN_SHARE * count:
        troubles.append(
            Finding(
                "temperature too large",
                f"the temperature is too large ({temperature:g}): of {count:.0f} negatives the softmax attends to "
                f"{seen:.0f}, near ones and far ones alike. Lower pretrain.loss: "
                "{temperature: ...}; 0.07 to 0.5 is usual.",
            )
        )
    return troubles


def few_negatives(figures: Mapping[str, float], remedy: str) -> list[Finding]:
    """Say whether anchors have hardly any negatives.

    Args:
        figures: The figures of a row of the curves; without `negatives`, nothing is said.
        remedy: What to change, as a sentence, from the strategy whose negatives these are.
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
    """Say whether a margin is more than pairs can keep, given the share of all of them that violate it."""
    if share <= _MAX_VIOLATING_SHARE:
        return []
    return [
        Finding(
            "margin too large",
            f"the margin is too large ({margin:g}): {share:.1%} of the triplets violate it, so that hardly any is ever "
            "satisfied. Lower pretrain.loss: {margin: ...}.",
        )
    ]


@torch.no_grad()
def staleness(keys: Tensor, samples: Tensor, oldest: Tensor, oldest_samples: Tensor) -> Tensor:
    """Return how much farther a key's nearest neighbour is among remembered keys than among the batch's: a scalar.

    The ratio of the mean cosine distances, less 1. Keys of other images are all drawn alike, so that among as many of
    them the nearest is as near, and this is 0; unless the encoder that made the old ones has since moved away.

    Args:
        keys: (K, D) unit-norm keys of the batch.
        samples: (K,) int64, the ids of their images.
        oldest: (n, D) unit-norm keys, the oldest remembered ones; as many as the batch has of other images count,
            and if there are fewer, none can be old, and this is 0.
        oldest_samples: (n,) int64, the ids of their images; an image's own old key is no neighbour.
    """
    others = int((samples != samples[0]).sum())
    oldest, oldest_samples = oldest[:others], oldest_samples[:others]
    if len(oldest) < max(1, others):
        return keys.new_tensor(0.0)
    anchor_samples = samples[:_MAX_ANCHORS]
    now = nearest(keys[:_MAX_ANCHORS], Negatives(keys, anchor_samples, samples), 1).similarities[:, 0]
    then = nearest(keys[:_MAX_ANCHORS], Negatives(oldest, anchor_samples, oldest_samples), 1).similarities[:, 0]
    now, then = (found[found.isfinite()].mean() for found in (now, then))  # -inf: all that is held is of one's own
    return ((1 - then + _DISTANCE_OFFSET) / (1 - now + _DISTANCE_OFFSET) - 1).nan_to_num(0.0)


def stale_keys(figures: Mapping[str, float], shorter: str) -> list[Finding]:
    """Say whether remembered keys are no longer comparable with new ones.

    Args:
        figures: The figures, with `key_staleness`, as `staleness` has it.
        shorter: The strategy's option that says how many it remembers.
    """
    if figures["key_staleness"] <= _MAX_STALENESS:
        return []
    return [
        Finding(
            "stale queue",
            f"the queue is stale: the nearest of its oldest keys are {figures['key_staleness']:.0%} farther than the "
            "nearest new ones, since the encoder has moved on. Use a slow teacher (pretrain.pretext_task: {momentum: "
            f"0.99}}), lower pretrain.negatives: {{{shorter}: ...}}, or lower pretrain.optimizer.learning_rate.",
        )
    ]
