"""Decoupled contrastive learning: InfoNCE without the positive in the denominator, so that small batches learn as well.

Source: Yeh et al. 2021 (2110.06848), equations 5 (DCL) and 6 (DCL-W). As in the authors' code, gradients go through the
weights of DCL-W; lightly's stop at them.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import cosines, log_mass
from ssl_pipeline.health.negatives import softmax_figures
from ssl_pipeline.parts.softmax import SoftmaxLoss
from ssl_pipeline.types import Negatives, Register, Step, StepOutput


class Decoupled(SoftmaxLoss):
    """Mean of -w s⁺/τ + log Σ exp(s⁻/τ), with s the cosine.

    Args:
        temperature: Temperature of the softmax, τ > 0.
        sigma: Width of the positives' weights, σ ≥ 0. 0: w = 1 (DCL). Else w = 2 - exp(s⁺/σ) / mean exp(s⁺/σ) (DCL-W),
            so that hard positives, those with small s⁺, pull more; the paper has 0.5.
    """

    def __init__(self, *, temperature: float, sigma: float = 0.0):
        super().__init__(temperature=temperature)
        if sigma < 0:
            raise ValueError(f"sigma must be at least 0, got {sigma}")
        self.sigma = sigma

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss in nats over anchors (A, D) with positives (A, M, D), all unit-norm."""
        cosine = cosines(anchors, positives)  # (A, M)
        mass = log_mass(anchors, negatives, 1 / self.temperature, positives=cosine / self.temperature)  # (A,)
        mass = mass.masked_fill(mass == -torch.inf, 0.0)
        weight = 2 - len(cosine) * torch.softmax(cosine / self.sigma, dim=0) if self.sigma else 1.0
        loss = (mass[:, None] - weight * cosine / self.temperature).mean()
        return StepOutput(loss, softmax_figures(anchors, negatives, self.temperature) if step.measured else {})


@hookimpl
def register_losses(register: Register) -> None:
    """Add `decoupled`."""
    register("decoupled", Decoupled)
