"""InfoNCE: tell the positive from the negatives by a softmax; NT-Xent with the negatives `in_batch`.

Source: van den Oord et al. 2018 (1807.03748), equation 4; NT-Xent: SimCLR (2002.05709), equation 1.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.diagnosis import softmax_figures, softmax_troubles
from ssl_pipeline.contrast.similarity import cosines, log_mass
from ssl_pipeline.types import Loss, Negatives, Register, StepOutput


class InfoNCE(Loss):
    """Mean of -log(exp(s⁺/τ) / (Σ exp(s⁺/τ) + Σ w exp(s⁻/τ))), with s the cosine; positives share a denominator.

    Args:
        temperature: τ > 0. Small: the nearest negatives dominate.
    """

    energy_name = "negative_cosine_over_temperature"

    def __init__(self, temperature: float):
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be greater than 0, got {temperature}")
        self.temperature = temperature

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives) -> StepOutput:
        """Mean loss in nats over anchors (A, D) with positives (A, M, D), all unit-norm."""
        positive = cosines(anchors, positives) / self.temperature  # (A, M)
        mass = log_mass(anchors, negatives, 1 / self.temperature, positives=positive)  # (A,)
        total = torch.logaddexp(positive.logsumexp(dim=1), mass)
        loss = (total[:, None] - positive).mean()
        probability = (positive - total[:, None]).exp().mean().detach()
        figures = softmax_figures(anchors, negatives, self.temperature)
        return StepOutput(loss, {"positive_probability": probability, **figures})

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """-cos/τ, as the softmax is the Gibbs distribution of this energy."""
        return -(first * second).sum(dim=1) / self.temperature

    def diagnose(self, figures: Mapping[str, float]) -> list[str]:
        """Too small a temperature, too few negatives."""
        return softmax_troubles(figures, self.temperature)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `info_nce`."""
    register("info_nce", InfoNCE)
