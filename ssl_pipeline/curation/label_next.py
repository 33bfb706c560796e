"""Which images to label next: some drawn at random, or one from each region of the embeddings that has no label yet.

For the latter, as many clusters are made as there will be labels. Those that hold a labelled image are served; of the
others, the largest first, each gives one image, drawn by chance. TypiClust takes the image of each cluster that lies
most densely; by chance was the safer choice, as docs/embeddings.md shows: what lies densely is easy, and says little of
the rest.

Source: Hacohen, Dekel and Weinshall 2022 (2202.02794), for clusters as many as labels, and the order in which they are
served.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from ssl_pipeline.curation.clusters import find_clusters

__all__ = ["choose_next"]

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

_MAX_IMAGES = 20_000  # among which is chosen: clusters of more would take minutes


def choose_next(
    embeddings: Features, labelled: npt.NDArray[np.bool_], count: int, seed: int, by: Literal["random", "clusters"]
) -> Numbers:
    """Choose images to label; by clusters, those first that stand for most others.

    Args:
        embeddings: (n, D) embeddings of unit length.
        labelled: (n,) whether an image has a label already.
        count: How many images to choose; all without a label, if these are fewer.
        seed: The seed of the clusters and of what is drawn.
        by: The way to choose.

    Returns:
        Numbers of images, none of them twice.
    """
    generator = np.random.default_rng(seed)
    candidates, known = np.flatnonzero(~labelled), np.flatnonzero(labelled)
    if len(candidates) > _MAX_IMAGES:
        candidates = np.sort(generator.choice(candidates, _MAX_IMAGES, replace=False))
    count = min(count, len(candidates))
    if by == "random" or not count:
        return generator.permutation(candidates)[:count]
    if len(known) > _MAX_IMAGES:
        known = np.sort(generator.choice(known, _MAX_IMAGES, replace=False))
    both = np.concatenate([known, candidates])
    clusters = find_clusters(embeddings[both], len(known) + count, seed).numbers
    served = np.unique(clusters[: len(known)])
    lots = generator.permutation(len(candidates))
    mine = clusters[len(known) :][lots]
    _, firsts = np.unique(mine, return_index=True)  # in the order of the clusters, the largest first
    firsts = firsts[~np.isin(mine[firsts], served)][:count]
    rest = np.setdiff1d(np.arange(len(lots)), firsts)[: count - len(firsts)]
    chosen: Numbers = candidates[lots[np.concatenate([firsts, rest])]]
    return chosen
