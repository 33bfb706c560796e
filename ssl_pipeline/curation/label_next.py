"""Which images to label next: drawn at random, or the most typical ones of regions that have no label yet.

For typical ones, as many clusters are made as there will be labels. Those that hold a labelled image are served; of the
others, the largest first, each gives the image that lies most densely. From 100 labels on images are drawn at random:
what lies densely is easy, and says little of others. docs/embeddings.md shows on which data typical ones gain.

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
_MAX_IMAGES = 20_000  # among which is chosen: clusters of more would take minutes
_NEIGHBOURS = 20  # that say how densely an image lies


class Choice(NamedTuple):
    """Images to label.

    Attributes:
        numbers: Numbers of images (m,), none of them twice.
        typical: How many of them, from the first on, are typical ones; the others were drawn at random.
    """

    numbers: Numbers
    typical: int


def choose_next(
    embeddings: Features, labelled: npt.NDArray[np.bool_], count: int, seed: int, by: Literal["random", "typical"]
) -> Choice:
    """Choose images to label; typical ones first, and of these those that stand for most others.

    Args:
        embeddings: (n, D) embeddings of unit length.
        labelled: (n,) whether an image has a label already.
        count: How many images to choose; all without a label, if these are fewer.
        seed: The seed of the clusters and of what is drawn.
        by: The way to choose the first `FEW_LABELS`.
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
    """Return up to `count` typical images of clusters in which none of the first `known` images lies."""
    clusters = find_clusters(embeddings, known + count, seed).numbers
    density = neighbours(embeddings, _NEIGHBOURS).similarities.sum(axis=1)
    order = np.argsort(-density, kind="stable")
    _, densest = np.unique(clusters[order], return_index=True)  # in the order of the clusters, the largest first
    chosen: Numbers = order[densest]
    return chosen[~np.isin(clusters[chosen], clusters[:known])][:count]
