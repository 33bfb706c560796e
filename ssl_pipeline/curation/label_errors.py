"""Find labels that are likely to be wrong, by confident learning.

A linear probe gives the probability of each class for images that it was not fitted on. A class is plausible for an
image if its probability is at least the mean over the images with that label. An image is counted under its most likely
plausible class; if this is not the class of its label, the label is likely to be wrong. The counts, scaled to the
number of images with each label, estimate how many labels i should be j. That many images with label i are suspected:
those for which the probability of j exceeds that of i the most.

Source: Northcutt, Jiang and Chuang 2021 (1911.00068): thresholds and the confident joint (equations 1 and 2), its
calibration (equation 3), and pruning by noise rate (section 3.3). The authors' library, cleanlab, is not used, because
its licence, the AGPL, would bind everybody who ships this pipeline.
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
"""Mean probability of a class for its own images up to which no probe knew the class; without images to fit on, it is
0."""
_FITTED = 20_000  # largest number of images to fit a probe on, as its time grows with images and classes


class LabelErrors(NamedTuple):
    """Suspected label errors among n labelled images.

    Attributes:
        suspected: Numbers of the images whose labels are likely to be wrong, those with the least likely label first.
        better: Class other than its label for each image (n,): for a suspected image, the class that raised the
            suspicion; for any other image, the most likely one.
    """

    suspected: Numbers
    better: Numbers


def folds_of(groups: Numbers, seed: int) -> Numbers:
    """Return a fold for each image (n,), from 0 to 4, with whole groups in each fold.

    Args:
        groups: Group numbers (n,), equal for images of one group.
        seed: Seed of the assignment of groups to folds.
    """
    names, numbers = np.unique(groups, return_inverse=True)
    dealt = np.random.default_rng(seed).permutation(len(names)) % FOLDS
    return np.asarray(dealt[numbers])


def can_be_probed(classes: Numbers, folds: Numbers) -> bool:
    """Return whether there are several folds, and the images outside each fold have two classes or more.

    Args:
        classes: Class numbers (n,).
        folds: Fold of each image (n,).
    """
    kept = [len(np.unique(classes[folds != fold])) for fold in np.unique(folds)]
    return len(kept) > 1 and min(kept) > 1


def out_of_fold(features: Features, labels: Numbers, folds: Numbers, class_count: int, seed: int = 0) -> Float64:
    """Return class probabilities (n, C), for each image by a probe that was fitted on the other folds.

    The strength of the penalty is chosen on the other folds, too, so that no image influences how it is judged.

    Args:
        features: Embeddings (n, D).
        labels: Class numbers (n,) in [0, C); outside each fold, there must be two classes or more.
        folds: Fold of each image (n,).
        class_count: Number of classes, C.
        seed: Seed of the choice of images to fit on, if there are very many.
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
    """Choose a strength by probes that are fitted on one fold and judged on the others.

    Fitting on one fold is cheap and sufficient: the penalty is balanced against a sum over images, so that the best
    strength depends little on their number. Judging on many images makes the choice reliable.
    """
    if len(held) == 0 or len(np.unique(labels[fitted])) < 2:
        return STRENGTHS[(len(STRENGTHS) - 1) // 2]
    known = features[fitted], labels[fitted]
    return fit(*known, STRENGTHS, features[held], labels[held], class_count=class_count).strength


def confident_joint(chances: Float64, labels: Numbers) -> Float64:
    """Return the estimated number of images by label (row) and true class (column), (C, C).

    Each row sums to the number of images with that label. A class that no probe could know, because all its images are
    in one fold, is left out: no image is assigned to it, and its labels are not doubted.

    Args:
        chances: Class probabilities (n, C), by probes that were not fitted on the images.
        labels: Class numbers (n,).
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
    unsure = counts.sum(axis=1) == 0  # if no image is counted under a label, the label is not doubted
    counts[unsure, unsure] = 1
    joint: Float64 = counts / counts.sum(axis=1, keepdims=True) * sizes[:, None]
    return joint


def find_label_errors(chances: Float64, labels: Numbers) -> LabelErrors:
    """Find labels that are likely to be wrong; arguments are those of `confident_joint`."""
    places = np.arange(len(labels))
    joint = confident_joint(chances, labels)
    own = chances[places, labels]
    others = chances.copy()
    others[places, labels] = -1.0
    better = others.argmax(axis=1)
    raised: dict[int, int] = {}  # image -> suspected class
    for label, other in zip(*np.nonzero(joint.round()), strict=True):
        if label != other:
            mine = np.flatnonzero(labels == label)
            order = np.argsort(chances[mine, label] - chances[mine, other], kind="stable")
            for place in mine[order[: int(joint[label, other].round())]].tolist():
                raised[place] = max(raised.get(place, other), other, key=lambda one: float(chances[place, one]))
    ordered = np.array(sorted(raised, key=lambda place: (own[place], place)), np.int64)
    better[ordered] = [raised[place] for place in ordered.tolist()]
    return LabelErrors(ordered, better)
