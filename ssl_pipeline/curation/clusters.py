"""Clusters of all images, by k-means: a table of contents for images without labels."""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Clusters", "find_clusters"]

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

_MAX_ITERATIONS = 50
_FITTED = 20_000  # largest number of images to fit the centres on


class Clusters(NamedTuple):
    """Clusters of images, the largest first.

    Attributes:
        numbers: Number of each image's cluster (n,), from 0.
        central: Number of the image nearest to the centre of each cluster.
    """

    numbers: Numbers
    central: Numbers


def find_clusters(embeddings: Features, count: int, seed: int) -> Clusters:
    """Cluster images; if fewer than `count` embeddings differ, there are fewer clusters.

    This runs on one thread, because with several threads the order of summation would depend on their number.

    Args:
        embeddings: Unit-norm embeddings (n, D); n >= 1.
        count: Largest number of clusters.
        seed: Seed of the start and, if there are very many images, of the choice of images to fit the centres on.
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
