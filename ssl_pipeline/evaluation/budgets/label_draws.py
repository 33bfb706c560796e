"""Draw the labels that a label budget allows."""

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
    """Return the reason why this data allows no comparison, in words; None if it allows one."""
    if not data.classes:
        return "no image has a label"
    if len(data.classes) == 1:
        return f"every label is '{data.classes[0]}', so there is nothing to distinguish"
    learnable = len(np.unique(data.train.labels))
    if learnable < 2:
        return f"the training images have labels of {learnable} of {len(data.classes)} classes; two or more are needed"
    if len(data.test) < 2:
        return f"the number of labelled test images is {len(data.test)}, too few to measure accuracy"
    return None


def affordable(budgets: Sequence[Budget], labels: Array) -> list[Budget]:
    """Return the budgets that differ on these labels, smallest first; a budget that no class exceeds becomes `all`."""
    largest = np.bincount(labels).max()
    counts: list[Budget] = sorted({budget for budget in budgets if budget != "all" and budget < largest})
    everything = any(budget == "all" or budget >= largest for budget in budgets)
    return [*counts, "all"] if everything else counts


def draw_labels(ids: npt.NDArray[np.uint64], labels: Array, budget: Budget, seed: int, draw: int) -> Array:
    """Choose the images whose labels may be used; a class with fewer labels than the budget contributes all of them.

    Args:
        ids: Ids of the images (n,).
        labels: Class numbers (n,).
        budget: Number of labels per class.
        seed: Seed of the study.
        draw: Number of the draw. Within a draw, a larger budget includes the images of a smaller one.

    Returns:
        Positions (m,) of the chosen images, ascending.
    """
    if budget == "all":
        return np.arange(len(ids))
    lots = np.lexsort((ids, hash64(seed, "labels", draw, ids)))
    chosen = [lots[labels[lots] == label][:budget] for label in np.unique(labels)]
    return np.sort(np.concatenate([np.empty(0, np.int64), *chosen]))
