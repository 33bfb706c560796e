"""Choose the images to label next: at random, or the most typical images of regions that have no label yet.

To find typical images, the images are divided into as many clusters as there will be labels. Clusters with a labelled
image are covered. Each of the others, the largest first, contributes the image in its densest place. From 100 labels
on, images are drawn at random, because images in dense places are easy and say little about others. docs/embeddings.md
shows on which data typical images help.

Source: Hacohen, Dekel and Weinshall 2022 (2202.02794), "Active learning on a budget: opposite strategies suit high and
low budgets".
"""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.curation.clusters import find_clusters
from ssl_pipeline.neighbours import neighbours

__all__ = ["Choice", "choose_next"]

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

FEW_LABELS = 100
_MAX_IMAGES = 20_000  # candidates; clustering more would take minutes
_NEIGHBOURS = 20  # neighbours that determine the density around an image


class Choice(NamedTuple):
    """Images to label.

    Attributes:
        numbers: Numbers of the images (m,), all different.
        typical: Number of typical images, which come first; the others were drawn at random.
    """

    numbers: Numbers
    typical: int


def choose_next(
    embeddings: Features, labelled: npt.NDArray[np.bool_], count: int, seed: int, by: Literal["random", "typical"]
) -> Choice:
    """Choose images to label: typical images first, starting with those that represent the most others.

    Args:
        embeddings: Unit-norm embeddings (n, D).
        labelled: Whether each image already has a label, (n,) bool.
        count: Number of images to choose; if fewer are unlabelled, all of those are chosen.
        seed: Seed of the clusters and of the random draws.
        by: Rule by which the first `FEW_LABELS` images are chosen.
    """
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(~labelled))
    known = np.flatnonzero(labelled)
    count = min(count, len(drawn))
    few = min(count, FEW_LABELS - len(known)) if by == "typical" else 0
    if few <= 0:
        return Choice(drawn[:count], 0)
    both = np.concatenate([known, np.sort(drawn[:_MAX_IMAGES])])
    first = both[_typical(embeddings[both], len(known), few, seed)]
    others = drawn[~np.isin(drawn, first)][: count - len(first)]
    return Choice(np.concatenate([first, others]), len(first))


def _typical(embeddings: Features, known: int, count: int, seed: int) -> Numbers:
    """Return up to `count` typical images, from clusters that contain none of the first `known` images."""
    clusters = find_clusters(embeddings, known + count, seed).numbers
    density = neighbours(embeddings, _NEIGHBOURS).similarities.sum(axis=1)
    order = np.argsort(-density, kind="stable")
    _, densest = np.unique(clusters[order], return_index=True)  # in the order of the clusters, the largest first
    chosen: Numbers = order[densest]
    return chosen[~np.isin(clusters[chosen], clusters[:known])][:count]
