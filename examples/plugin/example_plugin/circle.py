"""Circle loss: the farther a pair is from its optimum, the larger its weight.

Source: Sun et al. 2020 (2002.10857), equations 6 to 8.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import cosines, log_mass
from ssl_pipeline.types import Loss, Negatives, Register, Step, StepOutput, Trait


class Circle(Loss):
    """Mean of log(1 + Σ exp(γ [s⁻ + m]₊ (s⁻ - m)) Σ exp(γ [1 + m - s⁺]₊ (1 - m - s⁺))), with s the cosine.

    Args:
        margin: Margin m, in (0, 1): cosines of positives should exceed 1 - m, those of negatives stay below m.
        scale: Scale γ of the exponents, greater than 0.
    """

    energy_name = "negative_cosine"
    refuses: Mapping[Trait, str] = {
        "debiased": "the terms of a circle loss are not monotonic in the similarity, so they have no known minimum"
    }

    def __init__(self, *, margin: float = 0.4, scale: float = 16.0):
        super().__init__()
        if not 0 < margin < 1:
            raise ValueError(f"margin must lie between 0 and 1, got {margin}")
        if scale <= 0:
            raise ValueError(f"scale must be greater than 0, got {scale}")
        self.margin, self.scale = margin, scale

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss over anchors (A, D) with positives (A, M, D), all unit-norm."""
        cosine = cosines(anchors, positives)  # (A, M)
        weight = (1 + self.margin - cosine.detach()).clamp(min=0)  # a weight, through which no gradient flows
        pull = (self.scale * weight * (1 - self.margin - cosine)).logsumexp(dim=1)
        push = log_mass(anchors, negatives, self._logits)  # (A,), without ever holding anchors x keys
        return StepOutput(F.softplus(pull + push).mean(), {"positive_cosine": cosine.detach().mean()})

    def _logits(self, similarities: Tensor) -> Tensor:
        return self.scale * (similarities.detach() + self.margin).clamp(min=0) * (similarities - self.margin)

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return minus the cosine of each pair."""
        return -torch.linalg.vecdot(first, second)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `example_plugin_circle`."""
    register("example_plugin_circle", Circle)
