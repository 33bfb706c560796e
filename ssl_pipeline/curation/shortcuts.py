"""Shortcuts: how much the embeddings reveal about what is not content, such as a file's shape or camera.

For each such fact a linear probe is fitted on the embeddings, and asked about images that it was not fitted on. What it
gets right is held against two yardsticks: the commonest value, which is chance, and the commonest value of the image's
own class. An encoder that tells the fact better than the class does has learned the fact itself, as a shortcut or
because it can be seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssl_pipeline.curation.label_errors import can_be_probed, folds_of, out_of_fold

__all__ = ["Shortcut", "as_classes", "find_shortcuts"]

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

_PARTS = 4  # of the values of a quantity, with as many images each
_LEAST_IMAGES = 10
"""Images for a value: rarer values are left out, as a probe would not see them in every fold."""
_MAX_VALUES = 20
_MAX_IMAGES = 5_000  # so that facts are probed in seconds, however many images there are


@dataclass(frozen=True)
class Shortcut:
    """How well a fact about the files can be told.

    Attributes:
        images: Number of images that were asked about.
        values: Number of values, or of parts of a quantity.
        chance: Share of the images that have the commonest value.
        by_label: Share that is right where each class is taken to have its commonest value; None without labels.
        accuracy: Share that the probe of the embeddings gets right.
    """

    images: int
    values: int
    chance: float
    by_label: float | None
    accuracy: float

    @property
    def told(self) -> float:
        """How much of what chance gets wrong the probe gets right: 0 for nothing, 1 for all, below 0 for less."""
        return (self.accuracy - self.chance) / (1 - self.chance)


def find_shortcuts(
    embeddings: Features, facts: Mapping[str, Sequence[object]], labels: Numbers, groups: Numbers, seed: int
) -> dict[str, Shortcut]:
    """Probe the embeddings for facts about the files; facts that have one value, or one for each class, are left out.

    Args:
        embeddings: (n, D) embeddings.
        facts: Name -> values (n,): numbers of a quantity, or texts, of which "" stands for none.
        labels: (n,) class numbers; -1 for an image without a label.
        groups: (n,) numbers, equal for images of one group, which no fold parts.
        seed: The seed of the folds, and of the choice of images where there are very many.
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
    """Return numbers (n,) of values from 0, or of quarters of a quantity; -1 for what is unknown or rare.

    Args:
        values: Numbers, of which NaN stands for none, or texts, of which "" does.
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
    renamed = np.full(len(sizes) + 1, -1, np.int64)  # the last is that of -1
    for number, value in enumerate(sorted(frequent[sizes[frequent] >= _LEAST_IMAGES])):
        renamed[value] = number
    return renamed[classes]


def _is_the_label(classes: Numbers, labels: Numbers) -> bool:
    """Return whether a fact says what the label says, as folders named after classes do."""
    labelled = labels >= 0
    pairs = np.unique(np.stack([classes[labelled], labels[labelled]]), axis=1)
    return bool(labelled.any()) and len(pairs[0]) == len(np.unique(classes[labelled]))


def _by_label(classes: Numbers, labels: Numbers) -> float | None:
    """Return how often the commonest value of an image's class is its own; None where not all have a label."""
    if (labels < 0).any():
        return None
    counts = np.zeros((labels.max() + 1, classes.max() + 1))
    np.add.at(counts, (labels, classes), 1)
    return float(counts.max(axis=1).sum() / len(classes))
