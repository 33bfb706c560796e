"""Judge clusters: are classes merged (under-clustering), or is one class split (over-clustering)?

**Under-clustered**: with four times as many clusters as classes, there is room for every class, and yet clusters
contain several classes: their homogeneity is low, or two classes share the same clusters. **Over-clustered**: at k*,
the number of clusters that the embeddings prefer, a class has several clusters of its own, and every run divides it in
the same way. For this one class, this is what a k* above the number of classes, high homogeneity and low completeness
mean; in averages over all classes, a single class carries too little weight to show. If stability only falls from a
number below the number of classes onwards, a class may still be split: k* is then the most stable number that is not
below the number of classes, provided that a class is split there. **Balanced**: neither of these, and k* is a preferred
number. There is **no preferred number** if nothing is stable, if k* is the smallest or largest number tried, if its
clusters contain several classes, or if it is below the number of classes although these are not merged.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.clusters.clustering import PER_CLUSTER, ROOM, Clusterings, LabelAgreement, agreement

__all__ = ["MERGED", "SPLIT", "Judgement", "Word", "judge_clusters", "overlaps", "own_clusters", "sentences"]

Labels = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Word = Literal["balanced", "under-clustered", "over-clustered", "both", "no preferred number", "unknown"]

LOW_HOMOGENEITY = 0.7
"""Homogeneity above chance, at k* and at `ROOM` clusters per class, below which clusters mix classes: three tenths of
the information in the labels is then lost. In two trials, digits with a probe accuracy of 98% had 0.92 (at `ROOM`
clusters per class), and CIFAR-10 photographs with a probe accuracy of 38% had 0.11; 0.7 is no more than a value in
between."""

MERGED = 0.5
"""Overlap from which two classes count as merged: half of either class lies among as many images of the other."""

SPLIT = 1.5
"""Effective number of clusters from which a class counts as split; two clusters reach it if the smaller one has a
seventh of the images."""

STABLE = 0.6
"""Adjusted Rand index, of all images or of those of a class, from which clusters are stable; below it, k* is only the
least unstable number, and another run divides the class differently."""

FEWEST = ROOM * PER_CLUSTER
"""Smallest number of labelled images per class: two classes of twenty images from the same clusters still overlap by
two thirds."""

_MAX_LISTED_CLASSES = 3  # in each list


@dataclass(frozen=True)
class Judgement:
    """The judgement on clusters.

    Attributes:
        word: Verdict on the clusters.
        reason: Reason why the verdict is unknown; empty otherwise.
        classes: Number of classes; 0 if the verdict is unknown.
        k: Number k*, as `Clusterings.preferred` finds it or, if a class is split, as `Clusterings.most_stable` does.
        doubt: Reason why k* is not a preferred number of clusters; empty if it is one.
        homogeneity: Homogeneity above chance at `ROOM` clusters per class: 0 for shuffled labels, 1 if perfect.
        merged: Pair of class numbers -> overlap, greater than 0, for the worst pairs, worst first.
        split: Class number -> effective number of own clusters at k*, greater than 1, for the worst classes, worst
            first; empty if k* is not a preferred number.
    """

    word: Word
    reason: str
    classes: int
    k: int
    doubt: str
    homogeneity: float
    merged: dict[tuple[int, int], float]
    split: dict[int, float]


def judge_clusters(found: Clusterings, labels: Labels, seed: int) -> Judgement:
    """Judge clusters by the classes of their images.

    Args:
        found: Clusterings of n images.
        labels: Class numbers (n,); -1 for an image without a label.
        seed: Seed of the shuffled labels with which chance is measured.
    """
    known = labels >= 0
    classes, counts = np.unique(labels[known], return_counts=True)
    room = ROOM * len(classes)
    if len(classes) < 2:
        return _unknown(found, "fewer than two classes have labels")
    if room not in found.assignments or known.sum() < FEWEST * len(classes):
        too_few = f"too few images: {room} clusters need {FEWEST * len(classes)} different labelled images"
        return _unknown(found, too_few)
    labelled, enough = labels[known], classes[counts >= FEWEST]
    roomy = found.assignments[room][:, known]
    homogeneity = _above_chance(roomy, labelled, seed)
    merged = overlaps(roomy, labelled, enough)
    under = homogeneity < LOW_HOMOGENEITY or any(overlap >= MERGED for overlap in merged.values())
    # both are the same k, unless stability falls from the second to the first
    for k in (found.most_stable(len(classes)), found.preferred(len(classes))):
        at_k = found.assignments[k][:, known]
        doubt = _doubt(found, k, len(classes), _above_chance(at_k, labelled, seed))
        # at a k that is not preferred, it is chance how a class is divided
        split = {} if doubt else _split(at_k, labelled, enough)
        over = any(parts >= SPLIT for parts in split.values())
        if over:
            break
    if not (doubt or under or over) and k < len(classes):
        doubt = "it is below the number of classes"
    words: dict[tuple[bool, bool], Word] = {
        (False, False): "no preferred number" if doubt else "balanced",
        (True, False): "under-clustered",
        (False, True): "over-clustered",
        (True, True): "both",
    }
    return Judgement(
        words[under, over], "", len(classes), k, doubt, homogeneity, _worst(merged, 0.0), _worst(split, 1.0)
    )


def _unknown(found: Clusterings, reason: str) -> Judgement:
    k = found.preferred()
    return Judgement("unknown", reason, 0, k, _doubt(found, k, 0, 1.0), 0.0, {}, {})


def _doubt(found: Clusterings, k: int, classes: int, homogeneity: float) -> str:
    """Return the reason why k* is not a preferred number of clusters, in words; empty if it is one.

    Args:
        found: Clusterings at several k.
        k: Number of clusters k*.
        classes: Number of classes; 0 without labels, in which case nothing confirms the smallest number tried.
        homogeneity: Homogeneity above chance at k*.
    """
    if found.stability[k] < STABLE:
        return "no number is stable"
    if k == max(found.stability):
        return "it is the largest number tried, and more clusters may be as stable"
    if k == min(found.stability) and k != classes:
        return "it is the smallest number tried, and coarse clusters are often stable"
    if homogeneity < LOW_HOMOGENEITY:
        return "its clusters contain several classes"
    return ""


def _split(assignments: Labels, labels: Labels, classes: Labels) -> dict[int, float]:
    """Return class -> effective number of own clusters, for the classes that every run divides in the same way."""
    from sklearn.metrics import adjusted_rand_score

    found = {}
    for name, parts in own_clusters(assignments, labels, classes).items():
        of_class = assignments[:, labels == name]
        if np.mean([adjusted_rand_score(one, other) for one, other in combinations(of_class, 2)]) >= STABLE:
            found[name] = parts
    return found


def _worst(figures: dict[Any, float], harmless: float) -> dict[Any, float]:
    worse = [item for item in figures.items() if item[1] > harmless]
    return dict(sorted(worse, key=lambda item: (-item[1], item[0]))[:_MAX_LISTED_CLASSES])


def _above_chance(assignments: Labels, labels: Labels, seed: int) -> float:
    """Return homogeneity rescaled so that shuffled labels have 0: with few images, chance alone makes clusters pure."""
    chance = agreement(assignments, np.random.default_rng(seed).permutation(labels)).homogeneity
    return (agreement(assignments, labels).homogeneity - chance) / max(1 - chance, 1e-9)


def overlaps(assignments: Labels, labels: Labels, classes: Labels) -> dict[tuple[int, int], float]:
    """Return the overlap of each pair of classes: 1 minus the total variation distance of their cluster distributions.

    Args:
        assignments: Clusters (runs, n).
        labels: Class numbers (n,).
        classes: Numbers of the classes to compare (C,), each of which occurs in `labels`.

    Returns:
        Pair of classes -> mean overlap over runs, in [0, 1]: 0 if they share no cluster, 1 if no cluster separates
        them.
    """
    shares = _counts(assignments, labels, classes).astype(np.float64)
    shares /= shares.sum(axis=2, keepdims=True)  # (runs, C, k)
    return {
        (int(one), int(other)): float(np.minimum(shares[:, a], shares[:, b]).sum(axis=1).mean())
        for a, one in enumerate(classes)
        for b, other in enumerate(classes[a + 1 :], a + 1)
    }


def own_clusters(assignments: Labels, labels: Labels, classes: Labels) -> dict[int, float]:
    """Return the effective number of each class's own clusters: the exponential of the entropy of its images over them.

    A cluster is a class's own if more than half of its labelled images belong to the class.

    Args:
        assignments: Clusters (runs, n).
        labels: Class numbers (n,).
        classes: Numbers of the classes to count (C,), each of which occurs in `labels`.

    Returns:
        Class -> mean over runs: 1 for one cluster, 2 for two equal clusters; a run counts as 0 if the class's own
        clusters contain less than half of its images.
    """
    counts = _counts(assignments, labels, classes)
    everyone = _counts(assignments, np.zeros_like(labels), np.zeros(1, np.int64))  # (runs, 1, k)
    own = np.where(2 * counts > everyone, counts, 0)
    held = own.sum(axis=2)  # (runs, C)
    shares = own / np.maximum(held, 1)[..., None]
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=2)
    parts = np.where(2 * held >= counts.sum(axis=2), np.exp(entropy), 0.0)
    return {int(name): float(mean) for name, mean in zip(classes, parts.mean(axis=0), strict=True)}


def _counts(assignments: Labels, labels: Labels, classes: Labels) -> Labels:
    """Return the number of images of each class in each cluster of each run, (runs, C, k)."""
    k = assignments.max(initial=0) + 1
    rows = [[np.bincount(run[labels == name], minlength=k) for name in classes] for run in assignments]
    return np.array(rows, np.int64).reshape(len(assignments), len(classes), k)


_REMEDY_UNDER = (
    "Classes are merged: try more or better negatives (a larger pretrain.batch_size, or pretrain.negatives that "
    "remember keys of past steps or give more weight to near ones), a lower loss temperature, or another recipe."
)
_REMEDY_OVER = (
    "A class is split: try fewer false negatives (pretrain.negatives that leave out the nearest keys or "
    "subtract the share of false negatives), a higher loss temperature, or stronger views."
)


_NO_PREFERENCE = (
    "No classes are merged, but it is unclear whether one is split, because the embeddings do not form distinct "
    "clusters. The probe and kNN measure how well classes are separated."
)
_SAID_INSTEAD = {"both": "merged and split", "no preferred number": "without a preferred number"}


def sentences(judgement: Judgement, found: Clusterings, at_k: LabelAgreement | None, names: Sequence[str]) -> list[str]:
    """Return the verdict in a few plain lines.

    Args:
        judgement: Judgement, as `judge_clusters` returns it.
        found: Clusterings that were judged.
        at_k: Agreement of the clusters at k* with the classes; None without labels.
        names: Names of the classes, by number.
    """
    k, word = judgement.k, judgement.word
    among = f"number of clusters from {judgement.classes} on" if judgement.classes else "number of clusters"
    peak = "where stability peaks" if k < judgement.classes else f"the most stable {among}"
    line = f"k* = {k}, {peak} (stability {found.stability[k]:.2f}"
    line += f"; {judgement.doubt})" if judgement.doubt else ")"
    if word == "unknown" or at_k is None:
        said = "no preferred number: " if judgement.doubt else ""
        return [f"linear_eval: clusters: {said}{line}; no verdict: {judgement.reason}."]
    lines = [
        f"linear_eval: clusters are {_SAID_INSTEAD.get(word, word)}: {line}; at k*, homogeneity {at_k.homogeneity:.2f} "
        f"and completeness {at_k.completeness:.2f}; at {ROOM} clusters per class, homogeneity above chance "
        f"{judgement.homogeneity:.2f}."
    ]
    if word in ("under-clustered", "both"):
        pairs = [
            f"{names[one]} + {names[other]} ({overlap:.0%} of their images share clusters)"
            for (one, other), overlap in judgement.merged.items()
            if overlap >= MERGED
        ]
        lines.append(f"  {_REMEDY_UNDER}" + (f" Merged most: {', '.join(pairs)}." if pairs else ""))
    if word in ("over-clustered", "both"):
        classes = [f"{names[name]} ({parts:.1f} clusters)" for name, parts in judgement.split.items() if parts >= SPLIT]
        lines.append(f"  {_REMEDY_OVER} Split most: {', '.join(classes)}.")
    if word == "no preferred number":
        lines.append(f"  {_NO_PREFERENCE}")
    return lines
