"""Shortcuts: how much the embeddings reveal about facts that are not content, such as a file's size or camera.

For each fact, a linear probe is fitted on the embeddings and tested on images that it was not fitted on. Its accuracy
is compared with two baselines: always predicting the most frequent value (chance), and predicting the most frequent
value of the image's class. An encoder that predicts a fact better than the class does has learned the fact itself, as a
shortcut or because it is visible.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssl_pipeline.curation.label_errors import can_be_probed, folds_of, out_of_fold
from ssl_pipeline.evaluation.statistics.proportions import above_chance

__all__ = ["Shortcut", "as_classes", "find_shortcuts"]

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

_PARTS = 4  # ranges of a quantity, with equal numbers of images
_LEAST_IMAGES = 10
"""Smallest number of images per value; rarer values are left out, because a probe would not see them in every fold."""
_MAX_VALUES = 20
_MAX_IMAGES = 5_000  # with a sample of this size, facts are probed in seconds


@dataclass(frozen=True)
class Shortcut:
    """The accuracy with which a fact about the files can be predicted.

    Attributes:
        images: Number of images.
        values: Number of values, or of ranges of a quantity.
        chance: Share of the images that have the most frequent value.
        by_label: Accuracy of predicting the most frequent value of each class; None unless all images have labels.
        accuracy: Accuracy of the probe on the embeddings.
    """

    images: int
    values: int
    chance: float
    by_label: float | None
    accuracy: float

    @property
    def told(self) -> float:
        """Accuracy rescaled so that chance is 0 and a perfect probe is 1; negative if it is worse than chance."""
        return (self.accuracy - self.chance) / (1 - self.chance)

    @property
    def above_chance(self) -> bool:
        """Whether the accuracy is higher than chance by more than luck."""
        return above_chance(self.accuracy, self.chance, self.images)


def find_shortcuts(
    embeddings: Features, facts: Mapping[str, Sequence[object]], labels: Numbers, groups: Numbers, seed: int
) -> dict[str, Shortcut]:
    """Probe the embeddings for facts about the files.

    Facts with a single value are left out, as are facts that name the classes, such as folders.

    Args:
        embeddings: Embeddings (n, D).
        facts: Name of a fact -> values (n,): numbers of a quantity (NaN if unknown), or texts ("" if unknown).
        labels: Class numbers (n,); -1 for an image without a label.
        groups: Group numbers (n,), equal for images of one group, which stay in one fold.
        seed: Seed of the folds and, if there are very many images, of the choice of images.
    """
    found = {}
    for name, values in facts.items():
        classes = as_classes(values)
        known = np.flatnonzero(classes >= 0)
        if len(known) > _MAX_IMAGES:
            known = np.sort(np.random.default_rng(seed).choice(known, _MAX_IMAGES, replace=False))
        classes = classes[known]
        folds = folds_of(groups[known], seed)
        if not can_be_probed(classes, folds) or _is_the_label(classes, labels[known]):
            continue
        count = int(classes.max()) + 1
        right = out_of_fold(embeddings[known], classes, folds, count, seed).argmax(axis=1) == classes
        chance = float(np.bincount(classes).max() / len(classes))
        found[name] = Shortcut(len(known), count, chance, _by_label(classes, labels[known]), float(right.mean()))
    return found


def as_classes(values: Sequence[object]) -> Numbers:
    """Return class numbers of values, or of quarters of a quantity, (n,) from 0; -1 for an unknown or rare value.

    Args:
        values: Numbers of a quantity (NaN if unknown), or texts ("" if unknown), n.
    """
    if values and isinstance(values[0], int | float):
        amounts = np.array(values, np.float64)
        there = np.isfinite(amounts)
        shares = np.arange(1, _PARTS) / _PARTS
        edges = np.unique(np.quantile(amounts[there], shares)) if there.any() else np.empty(0)
        classes = np.where(there, np.searchsorted(edges, amounts), -1)
    else:
        numbers = {"": -1}
        classes = np.array([numbers.setdefault(str(value), len(numbers) - 1) for value in values], np.int64)
    sizes = np.bincount(classes[classes >= 0])
    frequent = np.argsort(-sizes, kind="stable")[:_MAX_VALUES]
    renamed = np.full(len(sizes) + 1, -1, np.int64)  # the last entry maps -1 to itself
    for number, value in enumerate(sorted(frequent[sizes[frequent] >= _LEAST_IMAGES])):
        renamed[value] = number
    return renamed[classes]


def _is_the_label(classes: Numbers, labels: Numbers) -> bool:
    """Return whether each value of a fact occurs with one label only, as for folders named after classes."""
    labelled = labels >= 0
    pairs = np.unique(np.stack([classes[labelled], labels[labelled]]), axis=1)
    return bool(labelled.any()) and len(pairs[0]) == len(np.unique(classes[labelled]))


def _by_label(classes: Numbers, labels: Numbers) -> float | None:
    """Return the accuracy of predicting the most frequent value of an image's class; None unless all have labels."""
    if (labels < 0).any():
        return None
    counts = np.zeros((labels.max() + 1, classes.max() + 1))
    np.add.at(counts, (labels, classes), 1)
    return float(counts.max(axis=1).sum() / len(classes))
