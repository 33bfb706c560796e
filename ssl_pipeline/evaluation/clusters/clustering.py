"""k-means of embeddings over a range of k: how stable the clusters are, and how they agree with the classes.

**Stability** needs no label. In each of some runs, k-means with a seed of its own is fitted on a random half of the
images, and its centres then assign all of them, and a second view of each of them too. Stability at k is the adjusted
Rand index between one run's clusters of the images and another's clusters of the views, averaged over the ordered pairs
of runs: 1 if other images, another start and another view make no difference, 0 if what comes out is chance. The most
stable number of clusters is **k***; with labels, of those from the number of classes on, because a coarse cut such as
animals from vehicles is often more stable than any finer one, and says nothing of how classes are cut. Where stability
only falls from a smaller number on, k* is that one: those after it have no peak of their own.

Where images belong to groups, such as the frames of a track, a half is one of the groups: with near copies of the same
image in either half, any cut would look stable.

Source: stability under resampling, Lange et al. 2004, "Stability-based validation of clustering solutions", with the
adjusted Rand index of Hubert and Arabie 1985; von Luxburg 2010 (1007.1075) on what it can show and what it cannot.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "PER_CLUSTER",
    "ROOM",
    "Clusterings",
    "LabelAgreement",
    "agreement",
    "cluster",
    "distinct",
    "energies",
    "grid",
]

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

ROOM = 4
"""Clusters for each class at the largest k: with as many, a class that lies in parts or is hard to enclose still has
its own."""

PER_CLUSTER = 5
"""Images for each cluster at the largest k: with fewer, clusters are as pure as chance makes them."""

_MAX_K_WITHOUT_CLASSES = 40  # the largest k where no class says how many there may be
_STABILITY_TIE = 0.01  # k whose stability is this close to the highest are as stable
_K_RATIO = 1.15  # ratio between one k and the next, where they are not next to each other anyway
_KMEANS_STARTS = 3  # of k-means++ in a run, of which the best counts: one alone often splits one blob and merges two
_ROWS_PER_TILE = 1024  # embeddings that are rounded at a time
_MAX_KMEANS_ITERATIONS = 50  # at most; Lloyd's later ones move next to nothing


@dataclass(frozen=True)
class Clusterings:
    """Clusters of the same n images at several k, in several runs.

    Attributes:
        assignments: k -> (runs, n) each image's cluster in each run, in [0, k).
        stability: k -> mean adjusted Rand index between runs, in [-0.5, 1].
    """

    assignments: dict[int, Labels]
    stability: dict[int, float]

    def most_stable(self, classes: int = 0) -> int:
        """Return the most stable k of those from the number of classes on.

        Of k whose stability is within 0.01 of the highest the largest counts, because the finest says most.

        Args:
            classes: Number of classes, at most the largest k; 0 if it is not known, for the most stable k of all.
        """
        highest = max(value for k, value in self.stability.items() if k >= classes)
        return max(k for k, value in self.stability.items() if k >= classes and value >= highest - _STABILITY_TIE)

    def preferred(self, classes: int = 0) -> int:
        """Return k*: the most stable k from the number of classes on, or the peak from which stability falls to it.

        Args:
            classes: See `most_stable`.
        """
        best = self.most_stable(classes)
        for k in sorted((k for k in self.stability if k < best), reverse=True):
            if self.stability[k] < self.stability[best] - _STABILITY_TIE:
                break
            if (
                self.stability[k] > self.stability[best] + _STABILITY_TIE
            ):  # no valley between: k* lies on the slope of this one
                best = k
        return best


@dataclass(frozen=True)
class LabelAgreement:
    """How the clusters at one k agree with the classes, averaged over the runs; all in [0, 1].

    Attributes:
        homogeneity: 1 if no cluster holds images of two classes.
        completeness: 1 if no class lies in two clusters.
        v_measure: Harmonic mean of the two; also NMI with the arithmetic mean of the entropies.
        nmi: Normalised mutual information, with their geometric mean.
    """

    homogeneity: float
    completeness: float
    v_measure: float
    nmi: float


def distinct(embeddings: Features) -> int:
    """Return how many embeddings differ by more than rounding; (n, D) unit-norm."""
    found: set[bytes] = set()
    for start in range(0, len(embeddings), _ROWS_PER_TILE):
        rounded = (embeddings[start : start + _ROWS_PER_TILE] - embeddings[:1]).round(5) + np.float32(0)  # no -0
        found.update(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rounded)
    return len(found)


def grid(images: int, classes: int) -> list[int]:
    """Return numbers of clusters to try: from 2 to 4 x C, ever wider apart, but all those next to C.

    Args:
        images: Number of images to cluster, at least `PER_CLUSTER` for each cluster.
        classes: C; fewer than two say nothing.

    Returns:
        Ascending; empty with fewer than ten images.
    """
    most = min(ROOM * classes if classes > 1 else _MAX_K_WITHOUT_CLASSES, images // PER_CLUSTER)
    widening = {round(2 * _K_RATIO**step) for step in range(100)}
    around = {*range(classes - 2, classes + 3), 2 * classes, most}
    return sorted(k for k in widening | around if 2 <= k <= most)


def cluster(
    embeddings: Features, views: Features, groups: Labels, ks: Sequence[int], runs: int, seed: int
) -> Clusterings:
    """Cluster with k-means at each k, and measure how stable the clusters are.

    One thread does it: with several, sums would be taken in an order that depends on their number.

    Args:
        embeddings: (n, D) unit-norm embeddings of the images; two or more in each half for each cluster.
        views: (n, D) unit-norm embeddings of another view of each.
        groups: (n,) numbers, equal for images of one group, of which a half has all or none.
        ks: Numbers of clusters, from 2.
        runs: How often, at least 2.
        seed: Seed of the halves and of the starts.
    """
    from sklearn.metrics import adjusted_rand_score
    from threadpoolctl import threadpool_limits

    assignments, stability = {}, {}
    with threadpool_limits(1):
        for k in ks:
            made = [_run(embeddings, views, groups, k, seed + run) for run in range(runs)]
            of_images, of_views = zip(*made, strict=True)
            pairs = permutations(range(runs), 2)
            assignments[k] = np.stack(of_images)
            stability[k] = float(np.mean([adjusted_rand_score(of_images[a], of_views[b]) for a, b in pairs]))
    return Clusterings(assignments, stability)


def _run(embeddings: Features, views: Features, groups: Labels, k: int, seed: int) -> tuple[Labels, Labels]:
    """Fit on a random half; the clusters (n,) of all images, and of all views."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    half = _half(groups, k, seed)
    # the half is a copy that nobody else sees: k-means may centre it in place
    means = KMeans(k, n_init=_KMEANS_STARTS, max_iter=_MAX_KMEANS_ITERATIONS, random_state=seed, copy_x=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different embeddings than k: some stay empty
        means.fit(embeddings[half])
    return means.predict(embeddings).astype(np.int64), means.predict(views).astype(np.int64)


def _half(groups: Labels, k: int, seed: int) -> Labels:
    """Return positions of a random half of the images, as nearly as whole groups allow, and of k images at least."""
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    lots = np.random.default_rng(seed).permutation(len(sizes))
    taken = np.cumsum(sizes[lots])
    count = min(taken[taken >= k], key=lambda images: abs(images - -(-len(groups) // 2)))
    return np.argsort(np.argsort(lots)[numbers], kind="stable")[:count]


def agreement(assignments: Labels, labels: Labels) -> LabelAgreement:
    """Hold clusters against classes.

    Args:
        assignments: (runs, n) clusters of labelled images.
        labels: (n,) their classes.

    Source: Rosenberg and Hirschberg 2007, "V-measure"; Strehl and Ghosh 2002 for NMI with the geometric mean.
    """
    from sklearn.metrics import homogeneity_completeness_v_measure, normalized_mutual_info_score

    rows = [
        (
            *homogeneity_completeness_v_measure(labels, clusters),
            normalized_mutual_info_score(labels, clusters, average_method="geometric"),
        )
        for clusters in assignments
    ]
    return LabelAgreement(*(float(mean) for mean in np.mean(rows, axis=0)))


def energies(embeddings: Features, labels: Labels, groups: Labels) -> dict[str, Any]:
    """Return energies of pairs of images of two groups: negative cosines within a class and between classes.

    Args:
        embeddings: (n, D) unit-norm embeddings of labelled images; some hundreds are enough: the time goes with n^2.
        labels: (n,) their classes.
        groups: (n,) numbers, equal for images of one group, which are alike for another reason than their class.

    Returns:
        For `intra` and `inter` class pairs the mean and three quantiles, in [-1, 1], and `auroc`, the probability that
        a pair within a class has less energy than one between classes. Empty if there is no pair of either sort.
    """
    from sklearn.metrics import roc_auc_score

    first, second = np.nonzero(np.triu(groups[:, None] != groups))
    energy = -(embeddings.astype(np.float64) @ embeddings.T.astype(np.float64))[first, second]
    same = labels[first] == labels[second]
    if same.all() or not same.any():
        return {}
    return {
        "intra": _summary(energy[same]),
        "inter": _summary(energy[~same]),
        "auroc": float(roc_auc_score(same, -energy)),
    }


def _summary(values: npt.NDArray[np.float64]) -> dict[str, float]:
    low, median, high = np.quantile(values, [0.05, 0.5, 0.95])
    return {"mean": float(values.mean()), "q05": float(low), "median": float(median), "q95": float(high)}
