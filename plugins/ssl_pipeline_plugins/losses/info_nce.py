"""InfoNCE: tell the positive from the negatives by a softmax; NT-Xent with the negatives `in_batch`.

Source: van den Oord et al. 2018 (1807.03748), equation 4; NT-Xent: SimCLR (2002.05709), equation 1.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import cosines, log_mass
from ssl_pipeline.health.negatives import softmax_figures
from ssl_pipeline.parts.softmax import SoftmaxLoss
from ssl_pipeline.types import Negatives, Register, Step, StepOutput


class InfoNCE(SoftmaxLoss):
    """Mean of -log(exp(s⁺/τ) / (Σ exp(s⁺/τ) + Σ w exp(s⁻/τ))), with s the cosine; positives share a denominator.

    Args:
        temperature: Temperature of the softmax, τ > 0. Small: the nearest negatives dominate.
    """

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss in nats over anchors (A, D) with positives (A, M, D), all unit-norm."""
        positive = cosines(anchors, positives) / self.temperature  # (A, M)
        mass = log_mass(anchors, negatives, 1 / self.temperature, positives=positive)  # (A,)
        total = torch.logaddexp(positive.logsumexp(dim=1), mass)
        loss = (total[:, None] - positive).mean()
        if not step.measured:
            return StepOutput(loss, {})
        probability = (positive - total[:, None]).exp().mean().detach()
        figures = softmax_figures(anchors, negatives, self.temperature)
        return StepOutput(loss, {"positive_probability": probability, **figures})


@hookimpl
def register_losses(register: Register) -> None:
    """Add `info_nce`."""
    register("info_nce", InfoNCE)
