"""Measure how often the negatives of a recipe belong to the anchor's own class, by replaying its strategy with labels.

The trained task projects two views of each labelled image, batch by batch as in training, and the recipe's strategy
chooses negatives. Labels then show what pretraining cannot know: the share of the strategy's weight that falls on
images of the anchor's own class. The chance level is this share if all other images of the batch have equal weight.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.augment.policy import Policies
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.contrast.similarity import total_weight
from ssl_pipeline.evaluation.seen_images import SeenImages
from ssl_pipeline.registry import Registry
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, PretextTask, Step, Tile

__all__ = ["Batch", "false_negatives", "replay"]

Labels = npt.NDArray[np.int64]

_REPLAYED_STEPS = 1_000_000  # length of the training whose last step is replayed
_MIN_BATCH_SHARE = 0.5  # a smaller last batch is left out, because a strategy's choice depends on the number of keys


def false_negatives(
    registry: Registry, task: PretextTask | None, card: ModelCard, seen: SeenImages, policies: Policies
) -> dict[str, Any]:
    """Return figures for details.json; empty if the recipe has no negatives or the labels name fewer than two classes.

    The result is empty, too, if positives are neighbours in time or captions, because batches would have to consist of
    these.

    Args:
        registry: Registry from which a fresh strategy is built.
        task: Trained pretext task; None if its recipe has no negatives.
        card: Card of the trained model.
        seen: Images of train and validation, of which the labelled ones are used.
        policies: Policies of the views.

    Returns:
        `strategy`: name of the strategy. `rate`: share of its weight on the anchor's own class; None if its keys are
        not projections of any batch. `chance`: the same share if all other images of the batch have equal weight.
        `images`: number of images.
    """
    choice = card.recipe.negatives
    in_time = card.pretrain is not None and card.pretrain.positives is not None
    if task is None or choice is None or in_time or task.text_tower is not None or seen.classes < 2:
        return {}
    kind, known = task.views.main, np.flatnonzero(seen.labels >= 0)
    order = np.random.default_rng(card.seed).permutation(known)
    batches = [order[start : start + card.batch_size] for start in range(0, len(order), card.batch_size)]
    if len(batches) > 1 and len(batches[-1]) < _MIN_BATCH_SHARE * card.batch_size:
        batches.pop()

    def projected() -> Iterator[Batch]:
        for positions in batches:
            canvases, ids = torch.from_numpy(seen.images(positions)), seen.ids[positions]
            views = make_views(policies.views, {kind: 2}, canvases, ids, policies.seed, 0, seen.spec)[kind]
            projections = task.predict(views.transpose(0, 1).flatten(0, 1)).flatten(1)
            numbers = torch.from_numpy(ids.view(np.int64))
            yield Batch(F.normalize(projections, dim=1), torch.from_numpy(seen.labels[positions]), numbers)

    with torch.inference_mode():
        rate, chance = replay(registry.build("negatives", choice), projected(), card.seed)
    found = None if math.isnan(rate) else rate
    return {"strategy": choice.name, "rate": found, "chance": chance, "images": sum(map(len, batches))}


class Batch(NamedTuple):
    """A batch of labelled images, as a strategy receives them.

    Attributes:
        projections: Unit-norm projections (2N, D), all first views before all second views.
        labels: Class numbers (N,), int64.
        ids: Ids of the images (N,), int64, equal for equal images across batches.
    """

    projections: Tensor
    labels: Tensor
    ids: Tensor


def replay(strategy: NegativeStrategy, batches: Iterator[Batch], seed: int = 0) -> tuple[float, float]:
    """Return the share of a strategy's weight that falls on the anchors' own classes, and the same share by chance.

    Args:
        strategy: Freshly built strategy, whose memories fill as the batches pass.
        batches: Batches in the order in which the strategy receives them, each as in the last step of a long training.
        seed: Seed of the random numbers that the strategy asks for.

    Returns:
        Two shares in [0, 1]; by chance means with equal weight on all other images of the batch. Keys of images that
        were in no batch have no label and are left out; a share is NaN if no key is left.
    """
    label_of: dict[int, int] = {}
    weights = np.zeros((2, 2))  # rows: strategy, equal weights; columns: own class, any class
    for projections, labels, ids in batches:
        both, samples = labels.repeat(2), ids.repeat(2)
        label_of.update(zip(ids.tolist(), labels.tolist(), strict=True))
        step = Step(_REPLAYED_STEPS - 1, _REPLAYED_STEPS, epoch=0, seed=seed, ids=ids)
        positives = projections.roll(len(labels), dims=0)
        chosen = strategy.select(Candidates(projections, positives, samples, projections, samples, step))
        for row, negatives in enumerate((chosen, Negatives(projections, samples, samples))):
            of_keys = torch.tensor([label_of.get(sample, -1) for sample in negatives.key_samples.tolist()])
            weights[row] += _weights(projections, both, negatives, of_keys)
        strategy.after_step(step, chosen.kept)
    with np.errstate(invalid="ignore"):
        rate, chance = weights[:, 0] / weights[:, 1]
    return float(rate), float(chance)


def _weights(anchors: Tensor, labels: Tensor, negatives: Negatives, of_keys: Tensor) -> tuple[float, float]:
    """Return the total weight of pairs of the same class, and of all pairs whose key has a label."""

    def only(same: bool) -> float:
        def log_weight(tile: Tile) -> Tensor:
            mine, theirs = labels[tile.anchors, None], of_keys[None, tile.keys]
            kept = mine == theirs if same else theirs.expand(len(mine), -1) >= 0
            weight = negatives.log_weight
            found = torch.zeros_like(tile.similarities) if weight is None else weight(tile)
            return found.masked_fill(~kept, -torch.inf)

        return float(total_weight(anchors, replace(negatives, log_weight=log_weight)).double().sum())

    return only(same=True), only(same=False)
