"""Which labels may be used: all that there are, and the few of them that a label budget draws."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.labelled import LabelledSplits
from ssl_pipeline.randomness import hash64

__all__ = ["Budget", "affordable", "draw_labels", "in_words", "obstacle"]

Budget = int | Literal["all"]
Array = npt.NDArray[np.int64]


def in_words(budget: Budget) -> str:
    """Return a budget in words: "1 label per class", "20 labels per class", "all labels"."""
    return "all labels" if budget == "all" else f"{budget} label{'s' * (budget > 1)} per class"


def obstacle(data: LabelledSplits) -> str | None:
    """Say why nothing can be compared on this data, in words; None where it can."""
    if not data.classes:
        return "no image has a label"
    if len(data.classes) == 1:
        return f"every label is '{data.classes[0]}', so there is nothing to distinguish"
    learnable = len(np.unique(data.train.labels))
    if learnable < 2:
        return f"the training images have labels of {learnable} of {len(data.classes)} classes, and two are needed"
    if len(data.test) < 2:
        return f"{len(data.test)} images of the test split have a label, too few to measure accuracy"
    return None


def affordable(budgets: Sequence[Budget], labels: Array) -> list[Budget]:
    """Return the budgets that differ on these labels, the smallest first: one that no class exceeds is `all`."""
    largest = np.bincount(labels).max()
    counts: list[Budget] = sorted({budget for budget in budgets if budget != "all" and budget < largest})
    everything = any(budget == "all" or budget >= largest for budget in budgets)
    return [*counts, "all"] if everything else counts


def draw_labels(ids: npt.NDArray[np.uint64], labels: Array, budget: Budget, seed: int, draw: int) -> Array:
    """Choose the images whose labels may be used; a class that has fewer than the budget gives all of them.

    Args:
        ids: (n,) identities of the images.
        labels: (n,) class numbers.
        budget: Labels per class.
        seed: Seed of the study.
        draw: The number of the draw. What a larger budget chooses in a draw holds what a smaller one does.

    Returns:
        Positions (m,), ascending.
    """
    if budget == "all":
        return np.arange(len(ids))
    lots = np.lexsort((ids, hash64(seed, "labels", draw, ids)))
    chosen = [lots[labels[lots] == label][:budget] for label in np.unique(labels)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))
