"""From clusters to words: are classes merged (under-clustering), or is one class split (over-clustering)?

**Under-clustered**: at four times as many clusters as classes, there is room for every class, yet clusters hold several
classes: their homogeneity is low, or two classes lie in the same clusters. **Over-clustered**: at k*, the number of
clusters that the embeddings themselves prefer, a class has several clusters of its own, and every run cuts it in the
same way. That is what k* above the number of classes, high homogeneity and low completeness mean for one class; for the
averages over all classes, one class among many weighs too little. Where stability only falls from a number below that
of the classes on, a class may be split all the same: if it is at the most stable number from that of the classes on,
that one is k*. **Balanced**: neither, and k* is a preference. Where it is none (nothing is stable, k* lies at the edge
of what was tried, its clusters hold several classes, or it is below the number of classes though these are not merged),
there is **no preferred number**.
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
"""Above chance, at k* and at `ROOM` clusters for each class: three tenths of what the labels say is lost in the
clusters. Of two networks that were tried, digits that a probe tells at 98% had 0.92 (with room), CIFAR-10 photographs
that it tells at 38% had 0.11; 0.7 lies between, no more."""

MERGED = 0.5
"""The overlap from which two classes are merged: half of either lies among as many images of the other."""

SPLIT = 1.5
"""Effective number of clusters of a class: two parts count as much when the smaller holds a seventh of its images."""

STABLE = 0.6
"""Adjusted Rand index, of all images and of those of a class: below this, k* is only the least unstable number, and
another run cuts the class elsewhere."""

FEWEST = ROOM * PER_CLUSTER
"""Labelled images of a class: drawn from the same clusters, two classes of twenty still overlap by two thirds."""

_MAX_LISTED_CLASSES = 3  # of each list


@dataclass(frozen=True)
class Judgement:
    """What was found.

    Attributes:
        word: The verdict.
        reason: Why it is unknown; empty otherwise.
        classes: How many there are; 0 where the verdict is unknown.
        k: k*, as `Clusterings.preferred` finds it; where a class is split, as `Clusterings.most_stable` does.
        doubt: Why k* is no preferred number of clusters; empty where it is one.
        homogeneity: Homogeneity at `ROOM` clusters for each class, above chance: 0 as shuffled labels, 1 perfect.
        merged: The worst pairs of class numbers -> their overlap, worst first; none that share no cluster.
        split: The worst class numbers -> their effective number of own clusters at k*, worst first; more than 1.
            Empty where k* is no preferred number.
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
        labels: (n,) class numbers; -1 for none.
        seed: Seed of the shuffled labels that chance is measured with.
    """
    known = labels >= 0
    classes, counts = np.unique(labels[known], return_counts=True)
    room = ROOM * len(classes)
    if len(classes) < 2:
        return _unknown(found, "no labels of two classes")
    if room not in found.assignments or known.sum() < FEWEST * len(classes):
        too_few = f"too few images: {room} clusters take {FEWEST * len(classes)} labelled, different ones"
        return _unknown(found, too_few)
    labelled, enough = labels[known], classes[counts >= FEWEST]
    roomy = found.assignments[room][:, known]
    homogeneity = _above_chance(roomy, labelled, seed)
    merged = overlaps(roomy, labelled, enough)
    under = homogeneity < LOW_HOMOGENEITY or any(overlap >= MERGED for overlap in merged.values())
    # the two are the same, unless stability falls to the first
    for k in (found.most_stable(len(classes)), found.preferred(len(classes))):
        at_k = found.assignments[k][:, known]
        doubt = _doubt(found, k, len(classes), _above_chance(at_k, labelled, seed))
        # how a k that nothing speaks for cuts a class is chance
        split = {} if doubt else _split(at_k, labelled, enough)
        over = any(parts >= SPLIT for parts in split.values())
        if over:
            break
    if not (doubt or under or over) and k < len(classes):
        doubt = "fewer than there are classes"
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
    """Say why k* is no preferred number of clusters, in words; empty where it is one.

    Args:
        found: Clusterings.
        k: k*.
        classes: How many there are; 0 without labels, where nothing says that the fewest clusters are not too few.
        homogeneity: Homogeneity at k*, above chance.
    """
    if found.stability[k] < STABLE:
        return "none is truly stable"
    if k == max(found.stability):
        return "the largest that was tried: more may be as stable"
    if k == min(found.stability) and k != classes:
        return "the smallest that was tried: a coarse cut is often stable"
    if homogeneity < LOW_HOMOGENEITY:
        return "its clusters hold several classes"
    return ""


def _split(assignments: Labels, labels: Labels, classes: Labels) -> dict[int, float]:
    """Return the own clusters of each class that every run cuts in the same way: class -> their effective number."""
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
    """Return homogeneity from that of shuffled labels (0) to 1: with few images, chance alone makes clusters pure."""
    chance = agreement(assignments, np.random.default_rng(seed).permutation(labels)).homogeneity
    return (agreement(assignments, labels).homogeneity - chance) / max(1 - chance, 1e-9)


def overlaps(assignments: Labels, labels: Labels, classes: Labels) -> dict[tuple[int, int], float]:
    """Return how far each two classes lie in the same clusters: 1 minus the total variation distance of their clusters.

    Args:
        assignments: (runs, n) clusters.
        labels: (n,) class numbers.
        classes: (C,) class numbers to look at; each is there.

    Returns:
        Pair of classes -> mean over runs, in [0, 1]: 0 if they share no cluster, 1 if no cluster tells them apart.
    """
    shares = _counts(assignments, labels, classes).astype(np.float64)
    shares /= shares.sum(axis=2, keepdims=True)  # (runs, C, k)
    return {
        (int(one), int(other)): float(np.minimum(shares[:, a], shares[:, b]).sum(axis=1).mean())
        for a, one in enumerate(classes)
        for b, other in enumerate(classes[a + 1 :], a + 1)
    }


def own_clusters(assignments: Labels, labels: Labels, classes: Labels) -> dict[int, float]:
    """Return how many clusters each class has to itself: the exponential of the entropy of its images over them.

    A cluster is a class's own if most of its labelled images are of the class.

    Args:
        assignments: (runs, n) clusters.
        labels: (n,) class numbers.
        classes: (C,) class numbers to look at; each is there.

    Returns:
        Class -> mean over runs: 1 for one cluster, 2 for two equal ones, 0 where its own hold less than half of it.
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
    """Return images of each class in each cluster of each run: (runs, C, k)."""
    k = assignments.max(initial=0) + 1
    rows = [[np.bincount(run[labels == name], minlength=k) for name in classes] for run in assignments]
    return np.array(rows, np.int64).reshape(len(assignments), len(classes), k)


_REMEDY_UNDER = (
    "Classes are merged: try more or better negatives (a larger pretrain.batch_size; pretrain.negatives that "
    "remember keys of past steps, or that give near ones more weight), a lower loss temperature, or another recipe."
)
_REMEDY_OVER = (
    "A class is split: try fewer false negatives (pretrain.negatives that leave out the nearest keys, or "
    "that subtract the share of false ones), a higher loss temperature, or stronger views."
)


_NO_PREFERENCE = (
    "No classes are merged, and whether one is split cannot be told: the embeddings do not fall into clusters of their "
    "own. The probe and kNN say how well classes are told apart."
)
_SAID_INSTEAD = {"both": "merged and split", "no preferred number": "without a preferred number"}


def sentences(judgement: Judgement, found: Clusterings, at_k: LabelAgreement | None, names: Sequence[str]) -> list[str]:
    """Return the verdict in a few plain lines.

    Args:
        judgement: The judgement, as `judge_clusters` returns it.
        found: What was judged.
        at_k: How the clusters at k* agree with the classes; None without labels.
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
        f"linear_eval: clusters {_SAID_INSTEAD.get(word, word)}: {line}; there homogeneity {at_k.homogeneity:.2f}, "
        f"completeness {at_k.completeness:.2f}; homogeneity above chance at {ROOM} clusters per class "
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
