"""k-means of embeddings over a range of k: stability of the clusters, and their agreement with the classes.

**Stability** needs no labels. In each of several runs, k-means with a seed of its own is fitted on a random half of the
images. Its centres then assign all images to clusters, and a second view of each image, too. Stability at k is the
adjusted Rand index between one run's clusters of the images and another run's clusters of the views, averaged over the
ordered pairs of runs: 1 if other images, another start and another view make no difference, 0 if the result is chance.
The most stable number of clusters is **k***. With labels, only numbers from the number of classes on compete, because
a coarse division, such as animals from vehicles, is often more stable than any finer one, and says nothing about how
classes are divided. If stability only falls from a smaller number on, k* is that number, because the later numbers have
no peak of their own.

If images belong to groups, such as the frames of a track, halves consist of whole groups: with near copies of the same
image in both halves, any division would look stable.

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
"""Number of clusters per class at the largest k: enough for a class that lies in parts, or is hard to enclose, to have
clusters of its own."""

PER_CLUSTER = 5
"""Number of images per cluster at the largest k: with fewer images, clusters are pure by chance."""

_MAX_K_WITHOUT_CLASSES = 40  # largest k without labels, when the number of classes is unknown
_STABILITY_TIE = 0.01  # stabilities that differ by no more than this are equal
_K_RATIO = 1.15  # ratio between successive k, unless they are neighbouring integers
_KMEANS_STARTS = 3  # starts of k-means++ per run; the best is used, as a single one often splits a blob and merges two
_ROWS_PER_TILE = 1024  # embeddings that are rounded at once
_MAX_KMEANS_ITERATIONS = 50  # later iterations of Lloyd's algorithm change almost nothing


@dataclass(frozen=True)
class Clusterings:
    """Clusters of the same n images at several k, in several runs.

    Attributes:
        assignments: k -> clusters of the images in each run, (runs, n), in [0, k).
        stability: k -> mean adjusted Rand index between runs, in [-0.5, 1].
    """

    assignments: dict[int, Labels]
    stability: dict[int, float]

    def most_stable(self, classes: int = 0) -> int:
        """Return the most stable k that is not below the number of classes.

        Among the k whose stability is within 0.01 of the highest, the largest is returned, because the finest clusters
        say the most.

        Args:
            classes: Number of classes, not above the largest k; 0 if unknown, for the most stable k of all.
        """
        highest = max(value for k, value in self.stability.items() if k >= classes)
        return max(k for k, value in self.stability.items() if k >= classes and value >= highest - _STABILITY_TIE)

    def preferred(self, classes: int = 0) -> int:
        """Return k*: the most stable k not below the number of classes, or the peak from which stability falls to it.

        Args:
            classes: Number of classes, as in `most_stable`.
        """
        best = self.most_stable(classes)
        for k in sorted((k for k in self.stability if k < best), reverse=True):
            if self.stability[k] < self.stability[best] - _STABILITY_TIE:
                break
            if (
                self.stability[k] > self.stability[best] + _STABILITY_TIE
            ):  # without a valley in between, k* lies on the slope of this peak
                best = k
        return best


@dataclass(frozen=True)
class LabelAgreement:
    """Agreement of the clusters at one k with the classes, averaged over the runs; all measures are in [0, 1].

    Attributes:
        homogeneity: Homogeneity; 1 if no cluster contains images of two classes.
        completeness: Completeness; 1 if no class is spread over two clusters.
        v_measure: Harmonic mean of homogeneity and completeness, which equals the normalised mutual information with
            the arithmetic mean of the entropies.
        nmi: Normalised mutual information with the geometric mean of the entropies.
    """

    homogeneity: float
    completeness: float
    v_measure: float
    nmi: float


def distinct(embeddings: Features) -> int:
    """Return the number of unit-norm embeddings (n, D) that differ by more than rounding."""
    found: set[bytes] = set()
    for start in range(0, len(embeddings), _ROWS_PER_TILE):
        rounded = (embeddings[start : start + _ROWS_PER_TILE] - embeddings[:1]).round(5) + np.float32(0)  # no -0
        found.update(hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rounded)
    return len(found)


def grid(images: int, classes: int) -> list[int]:
    """Return the numbers of clusters to try, from 2 to 4 x C: all those close to C, and increasingly sparse elsewhere.

    Args:
        images: Number of images to cluster; each cluster needs at least `PER_CLUSTER`.
        classes: Number of classes, C; below two, it is ignored.

    Returns:
        Ascending numbers of clusters; empty with fewer than ten images.
    """
    most = min(ROOM * classes if classes > 1 else _MAX_K_WITHOUT_CLASSES, images // PER_CLUSTER)
    widening = {round(2 * _K_RATIO**step) for step in range(100)}
    around = {*range(classes - 2, classes + 3), 2 * classes, most}
    return sorted(k for k in widening | around if 2 <= k <= most)


def cluster(
    embeddings: Features, views: Features, groups: Labels, ks: Sequence[int], runs: int, seed: int
) -> Clusterings:
    """Cluster with k-means at each k, and measure how stable the clusters are.

    This runs on one thread, because with several threads the order of summation would depend on their number.

    Args:
        embeddings: Unit-norm embeddings of the images (n, D), with at least two images per cluster in each half.
        views: Unit-norm embeddings (n, D) of another view of each image.
        groups: Group numbers (n,), equal for images of one group; a half contains all images of a group or none.
        ks: Numbers of clusters to try, from 2.
        runs: Number of runs, at least 2.
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
    """Fit k-means on a random half, and return the clusters (n,) of all images and of all views."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    half = _half(groups, k, seed)
    # the half is a private copy, which k-means may centre in place
    means = KMeans(k, n_init=_KMEANS_STARTS, max_iter=_MAX_KMEANS_ITERATIONS, random_state=seed, copy_x=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer different embeddings than k leave clusters empty
        means.fit(embeddings[half])
    return means.predict(embeddings).astype(np.int64), means.predict(views).astype(np.int64)


def _half(groups: Labels, k: int, seed: int) -> Labels:
    """Return the positions of a random half of the images, as exactly as whole groups allow, and at least k images."""
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    lots = np.random.default_rng(seed).permutation(len(sizes))
    taken = np.cumsum(sizes[lots])
    count = min(taken[taken >= k], key=lambda images: abs(images - -(-len(groups) // 2)))
    return np.argsort(np.argsort(lots)[numbers], kind="stable")[:count]


def agreement(assignments: Labels, labels: Labels) -> LabelAgreement:
    """Measure the agreement of clusters with classes.

    Args:
        assignments: Clusters of labelled images (runs, n).
        labels: Class numbers of these images (n,).

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
    """Return statistics of the energies (negative cosines) of pairs of images within a class and between classes.

    Pairs within a group are left out, because they are similar for other reasons than their class.

    Args:
        embeddings: Unit-norm embeddings of labelled images (n, D); a few hundred suffice, as the time grows with n^2.
        labels: Class numbers (n,).
        groups: Group numbers (n,), equal for images of one group.

    Returns:
        Mean and three quantiles of the energies of `intra`-class and `inter`-class pairs, in [-1, 1], and `auroc`, the
        probability that a pair within a class has less energy than a pair between classes. Empty if one of the two
        kinds of pairs is missing.
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
