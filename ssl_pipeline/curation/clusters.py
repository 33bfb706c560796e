"""Clusters of all images, by k-means: a table of contents for images without labels."""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Clusters", "find_clusters"]

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

_MAX_ITERATIONS = 50
_FITTED = 20_000  # images that centres are fitted on, at most


class Clusters(NamedTuple):
    """Clusters, the largest first.

    Attributes:
        numbers: (n,) numbers of the images' clusters, from 0.
        central: The number of the image that is nearest to each cluster's centre.
    """

    numbers: Numbers
    central: Numbers


def find_clusters(embeddings: Features, count: int, seed: int) -> Clusters:
    """Cluster images; fewer than `count` clusters come out where fewer embeddings differ.

    One thread does it: with several, sums would be taken in an order that depends on their number.

    Args:
        embeddings: (n, D) embeddings of unit length, n >= 1.
        count: The number of clusters.
        seed: The seed of the start, and of the images that centres are fitted on where there are very many.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    fitted = embeddings
    if len(embeddings) > _FITTED:
        fitted = embeddings[np.random.default_rng(seed).choice(len(embeddings), _FITTED, replace=False)]
    means = KMeans(min(count, len(fitted)), n_init=1, max_iter=_MAX_ITERATIONS, random_state=seed)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different embeddings than clusters
        means.fit(fitted)
        found = means.predict(embeddings).astype(np.int64)
    sizes = np.bincount(found, minlength=len(means.cluster_centers_))
    order = np.argsort(-sizes, kind="stable")
    order = order[sizes[order] > 0]
    renamed = np.empty(len(sizes), np.int64)
    renamed[order] = np.arange(len(order))
    away = np.square(embeddings - means.cluster_centers_[found]).sum(axis=1)
    by_distance = np.lexsort((away, renamed[found]))
    starts = np.searchsorted(renamed[found][by_distance], np.arange(len(order)))
    return Clusters(renamed[found], by_distance[starts])
