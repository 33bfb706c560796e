"""InfoNCE: a softmax tells the positive from the negatives. With the negatives `in_batch` it is NT-Xent.

Sources: van den Oord et al. 2018 (1807.03748), equation 4; NT-Xent: SimCLR (2002.05709), equation 1; learned
temperature: CLIP (2103.00020), section 2.4.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import cosines, log_mass
from ssl_pipeline.health.negatives import softmax_figures
from ssl_pipeline.parts.softmax import SoftmaxLoss
from ssl_pipeline.types import Finding, Kept, Negatives, Register, Step, StepOutput

_LEAST_LEARNED = 0.01  # CLIP: cosines are never scaled by more than 100


class InfoNCE(SoftmaxLoss):
    """Mean of -log(exp(s⁺/τ) / (Σ exp(s⁺/τ) + Σ w exp(s⁻/τ))), with s the cosine; positives share a denominator.

    Args:
        temperature: Softmax temperature, τ > 0. When it is small, the nearest negatives dominate.
        learned_temperature: Whether to learn the temperature, through its logarithm. It then starts at `temperature`,
            which must be at least 0.01, and never falls below 0.01.
    """

    log_scale: nn.Parameter | None

    def __init__(self, *, temperature: float, learned_temperature: bool = False):
        super().__init__(temperature=temperature)
        if learned_temperature and temperature < _LEAST_LEARNED:
            raise ValueError(f"temperature must be at least {_LEAST_LEARNED} if it is learned, got {temperature}")
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature))) if learned_temperature else None

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss in nats over anchors (A, D) with positives (A, M, D), all unit-norm."""
        if self.log_scale is None:
            positive = cosines(anchors, positives) / self.temperature  # (A, M)
            mass = log_mass(anchors, negatives, 1 / self.temperature, positives=positive)  # (A,)
        else:
            scale = self.log_scale.exp()
            positive = cosines(anchors, positives) * scale
            column = scale.expand(len(anchors))
            mass = log_mass(anchors, negatives, lambda s, by: s * by, (column,), positives=positive)
        total = torch.logaddexp(positive.logsumexp(dim=1), mass)
        loss = (total[:, None] - positive).mean()
        if not step.measured:
            return StepOutput(loss, {})
        probability = (positive - total[:, None]).exp().mean().detach()
        figures = {"positive_probability": probability}
        temperature = self.temperature
        if self.log_scale is not None:
            figures["temperature"] = (-self.log_scale.detach()).exp()
            temperature = figures["temperature"].item()
        return StepOutput(loss, {**figures, **softmax_figures(anchors, negatives, temperature)})

    @torch.no_grad()
    def after_step(self, step: Step, kept: Kept) -> None:
        """Keep a learned temperature from falling below 0.01."""
        if self.log_scale is not None:
            self.log_scale.clamp_(max=-math.log(_LEAST_LEARNED))

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return -cos/τ (N,), the energy whose Gibbs distribution is the softmax."""
        if self.log_scale is None:
            return super().energy(first, second)
        return -(first * second).sum(dim=1) * self.log_scale.exp()

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report a fixed temperature that is too small or too large; a learned one is never reported."""
        return super().diagnose(figures) if self.log_scale is None else []


@hookimpl
def register_losses(register: Register) -> None:
    """Add `info_nce`."""
    register("info_nce", InfoNCE)
