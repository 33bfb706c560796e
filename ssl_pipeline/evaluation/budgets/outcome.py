"""What a run of one arm leaves behind: the arms' names, and how a final model did on the test images."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.budgets.label_draws import Budget

__all__ = ["ARMS", "Arm", "Outcome"]

Arm = Literal["probe", "finetune", "random", "scratch", "start"]

ARMS: tuple[Arm, ...] = ("probe", "finetune", "random", "scratch", "start")
"""All arms in the order in which they are reported; `start` only where pretraining started from given weights."""


@dataclass(frozen=True)
class Outcome:
    """How one final model did.

    Attributes:
        budget: Labels per class.
        images: Labelled images that it learned from.
        arm: What it started from.
        encoder: The number of the pretrained encoder: 0 is the one that ships, and stands for all in other arms.
        draw: The number of the draw of labels, from 0.
        chosen: Its learning rate, or the probe's strength.
        correct: (n_test,) bool, whether each test image was classified correctly.
        balanced_accuracy: Mean over the test split's classes of the share that was classified correctly.
    """

    budget: Budget
    images: int
    arm: Arm
    encoder: int
    draw: int
    chosen: float
    correct: npt.NDArray[np.bool_]
    balanced_accuracy: float

    @property
    def accuracy(self) -> float:
        """The share of test images that were classified correctly."""
        return float(self.correct.mean())
