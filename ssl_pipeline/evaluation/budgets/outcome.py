"""Names of the arms, and the result of a final model on the test images."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.budgets.label_draws import Budget

__all__ = ["ARMS", "Arm", "Outcome"]

Arm = Literal["probe", "finetune", "random", "scratch", "start"]

ARMS: tuple[Arm, ...] = ("probe", "finetune", "random", "scratch", "start")
"""All arms in the order in which they are reported; `start` exists only if pretraining started from weights."""


@dataclass(frozen=True)
class Outcome:
    """The result of one final model.

    Attributes:
        budget: Number of labels per class.
        images: Number of labelled training images.
        arm: Arm of the model.
        encoder: Number of the pretrained encoder; 0 is the one that ships, and the only number in other arms.
        draw: Number of the draw of labels, from 0.
        chosen: Chosen learning rate, or the probe's strength.
        correct: Whether each test image was classified correctly, (n_test,) bool.
        balanced_accuracy: Mean recall over the classes of the test split.
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
        """Share of test images that were classified correctly."""
        return float(self.correct.mean())
