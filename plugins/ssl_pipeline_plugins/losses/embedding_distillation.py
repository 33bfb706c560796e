"""Embedding distillation: a student predicts its teacher's embedding of the image.

The loss is the squared distance of the two on the unit sphere, |p - t|² = 2 - 2 cos(p, t). The prediction comes from a
head on the student's embedding, which is not exported. That head makes the difference between a student that merely
imitates and one that learns.

Source: SimReg (2201.05131), section 3, equation 1.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.types import Register, Step, StepOutput, TaughtLoss


class EmbeddingDistillation(TaughtLoss):
    """Mean of 2 - 2 cos(p, t), in [0, 4], over predictions p and the teacher's embeddings t."""

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the mean squared distance of unit-norm predictions (V, N, D) from unit-norm targets (T, N, D)."""
        first, second = F.normalize(widened(predictions), dim=2), F.normalize(widened(targets), dim=2)
        cosine: Tensor = torch.linalg.vecdot(first, second)
        return StepOutput(2 - 2 * cosine.mean(), {})


@hookimpl
def register_losses(register: Register) -> None:
    """Add `embedding_distillation`."""
    register("embedding_distillation", EmbeddingDistillation)
