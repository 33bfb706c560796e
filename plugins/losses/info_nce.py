"""InfoNCE: tell the positive from the negatives by a softmax; NT-Xent with the negatives `in_batch`.

Source: van den Oord et al. 2018 (1807.03748), equation 4; NT-Xent: SimCLR (2002.05709), equation 1.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import log_mass, widened
from ssl_pipeline.types import Loss, Negatives, Register, StepOutput


class InfoNCE(Loss):
    """Mean of -log(exp(s⁺/τ) / (exp(s⁺/τ) + Σ w exp(s⁻/τ))), with s the cosine.

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
        """Mean loss in nats over anchors (A, D) with positives (A, D), both unit-norm."""
        positive = (widened(anchors) * widened(positives)).sum(dim=1) / self.temperature  # (A,)
        mass = log_mass(anchors, negatives, 1 / self.temperature)  # (A,)
        if negatives.correct is not None:
            mass = negatives.correct(mass, positive)
        loss = (torch.logaddexp(positive, mass) - positive).mean()
        share = torch.sigmoid(positive - mass)  # the softmax's probability of the positive
        metrics = {"positive_cosine": positive.mean() * self.temperature, "positive_probability": share.mean()}
        return StepOutput(loss, {name: value.detach() for name, value in metrics.items()})

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """-cos/τ, as the softmax is the Gibbs distribution of this energy."""
        return -(first * second).sum(dim=1) / self.temperature


@hookimpl
def register_losses(register: Register) -> None:
    """Add `info_nce`."""
    register("info_nce", InfoNCE)
