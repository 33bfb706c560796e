"""Decoupled contrastive learning: InfoNCE without the positive in the denominator, which makes small batches work.

Source: Yeh et al. 2021 (2110.06848), equations 5 (DCL) and 6 (DCL-W). As in the authors' code, gradients flow through
the weights of DCL-W; the implementation in lightly detaches the weights.
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
        temperature: Softmax temperature, τ > 0.
        sigma: Width of the weights of positives, σ ≥ 0. With 0, w = 1 (DCL). Otherwise w = 2 - exp(s⁺/σ) / mean
            exp(s⁺/σ) (DCL-W): hard positives, which have a small s⁺, pull more. The paper uses 0.5.
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
