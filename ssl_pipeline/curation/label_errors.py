"""Labels that are likely wrong, by confident learning.

A linear probe gives the probability of each class for images that it was not fitted on. A class is plausible for an
image if its probability is at least the mean over the images with that label; an image counts as one of its likeliest
plausible class. Where that is not the class of its label, the pair of classes has a likely error. The counts, scaled to
the number of images with each label, estimate how many labels i should be j, and as many images with label i are
suspected: those for which the probability of j exceeds that of i by most.

Source: Northcutt, Jiang and Chuang 2021 (1911.00068): thresholds and the confident joint (equations 1 and 2), its
calibration (equation 3), and pruning by noise rate (section 3.3). cleanlab, the authors' library, is under the AGPL,
which would bind whoever ships this pipeline.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.linear_probe import fit, fit_at

__all__ = ["LabelErrors", "can_be_probed", "confident_joint", "find_label_errors", "folds_of", "out_of_fold"]

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

FOLDS = 5
STRENGTHS = (1e-3, 1e-2, 0.1, 1.0)
_UNKNOWN = 1e-9
"""Mean probability of the own class, up to which no probe could know a class: one without images to fit on gets 0."""
_FITTED = 20_000  # images that a probe is fitted on, at most: its time would grow with their number and the classes'


class LabelErrors(NamedTuple):
    """What was found of n labelled images.

    Attributes:
        suspected: Numbers of the images whose labels are likely wrong: first those whose own class is least likely.
        better: Classes (n,) other than the images' own: of a suspected image the one that raised the suspicion, of
            another the likeliest.
    """

    suspected: Numbers
    better: Numbers


def folds_of(groups: Numbers, seed: int) -> Numbers:
    """Deal groups to folds: (n,) from 0 to 4.

    Args:
        groups: (n,) numbers, equal for images of one group, which no fold parts.
        seed: The seed of the deal.
    """
    names, numbers = np.unique(groups, return_inverse=True)
    dealt = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    return np.asarray(dealt[numbers])


def can_be_probed(classes: Numbers, folds: Numbers) -> bool:
    """Return whether there are several folds, and the images outside of each have two classes or more.

    Args:
        classes: (n,) class numbers.
        folds: (n,) numbers of folds.
    """
    kept = [len(np.unique(classes[folds != fold])) for fold in np.unique(folds)]
    return len(kept) > 1 and min(kept) > 1


def out_of_fold(features: Features, labels: Numbers, folds: Numbers, class_count: int, seed: int = 0) -> Float64:
    """Return probabilities (n, C) of the classes, each by a probe of the images of other folds.

    The strength of its penalty is chosen on other folds as well, so that no image has a say in how it is judged.

    Args:
        features: (n, D) embeddings.
        labels: (n,) class numbers in [0, C); those outside any one fold must name two classes or more.
        folds: (n,) numbers of folds.
        class_count: C.
        seed: The seed of the choice of images, where there are very many.
    """
    chances = np.zeros((len(labels), class_count))
    names = np.unique(folds)
    for fold, following in zip(names, np.roll(names, -1), strict=True):
        held, rest = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if len(rest) > _FITTED:
            rest = np.random.default_rng(seed).choice(rest, _FITTED, replace=False)
        first = folds[rest] == following
        strength = _strength(features, labels, rest[first], rest[~first], class_count)
        probe = fit_at(features[rest], labels[rest], strength, class_count=class_count)
        chances[held] = probe.predict_proba(features[held])
    return chances


def _strength(features: Features, labels: Numbers, fitted: Numbers, held: Numbers, class_count: int) -> float:
    """Choose a strength: by probes of one fold, asked about the others.

    One fold is enough, and cheap: what weighs against the penalty is a sum over images, so that the best strength
    depends little on their number. Many images to ask make the choice sure.
    """
    if len(held) == 0 or len(np.unique(labels[fitted])) < 2:
        return STRENGTHS[(len(STRENGTHS) - 1) // 2]
    known = features[fitted], labels[fitted]
    return fit(*known, STRENGTHS, features[held], labels[held], class_count=class_count).strength


def confident_joint(chances: Float64, labels: Numbers) -> Float64:
    """Return how many images with each label (row) are likely of each class (column): (C, C), rows as often as labels.

    A class that no probe could know, as all its images lie in one fold, is left out: no image counts as one of it, and
    nothing speaks against its labels.

    Args:
        chances: (n, C) probabilities by probes that do not know the images.
        labels: (n,) class numbers.
    """
    classes = chances.shape[1]
    sizes = np.bincount(labels, minlength=classes)
    own = chances[np.arange(len(labels)), labels]
    thresholds = np.bincount(labels, own, minlength=classes) / np.maximum(sizes, 1)
    known = thresholds > _UNKNOWN
    thresholds[~known] = np.inf
    confident = np.where(chances >= thresholds, chances, -1.0)
    sure = (confident.max(axis=1) >= 0) & known[labels]
    counts = np.zeros((classes, classes))
    np.add.at(counts, (labels[sure], confident[sure].argmax(axis=1)), 1)
    unsure = counts.sum(axis=1) == 0  # nothing speaks against the labels of a class that no image is sure of
    counts[unsure, unsure] = 1
    joint: Float64 = counts / counts.sum(axis=1, keepdims=True) * sizes[:, None]
    return joint


def find_label_errors(chances: Float64, labels: Numbers) -> LabelErrors:
    """Find labels that are likely wrong; arguments as in `confident_joint`."""
    places = np.arange(len(labels))
    joint = confident_joint(chances, labels)
    own = chances[places, labels]
    others = chances.copy()
    others[places, labels] = -1.0
    better = others.argmax(axis=1)
    raised: dict[int, int] = {}  # image -> the class that it is suspected to be of
    for label, other in zip(*np.nonzero(joint.round()), strict=True):
        if label != other:
            mine = np.flatnonzero(labels == label)
            order = np.argsort(chances[mine, label] - chances[mine, other], kind="stable")
            for place in mine[order[: int(joint[label, other].round())]].tolist():
                raised[place] = max(raised.get(place, other), other, key=lambda one: float(chances[place, one]))
    ordered = np.array(sorted(raised, key=lambda place: (own[place], place)), np.int64)
    better[ordered] = [raised[place] for place in ordered.tolist()]
    return LabelErrors(ordered, better)
