"""Sigmoid loss: each pair is classified separately as compatible or not, without a softmax over the batch.

Source: Zhai et al. 2023 (2303.15343), algorithm 1.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import cosines, negative_sum, total_weight
from ssl_pipeline.types import Loss, Negatives, Register, Step, StepOutput


class Sigmoid(Loss):
    """Mean over anchors of softplus(-(t s⁺ + b)) + Σ w softplus(t s⁻ + b), with s the cosine; t and b are learned.

    Args:
        scale: Initial value of the scale t, greater than 0; its logarithm is learned. The paper uses 10.
        bias: Initial value of the bias b. The paper uses -10: all pairs then start as incompatible, which nearly all of
            them are.
    """

    energy_name = "negative_scaled_cosine"

    def __init__(self, *, scale: float = 10.0, bias: float = -10.0):
        super().__init__()
        if scale <= 0:
            raise ValueError(f"scale must be greater than 0, got {scale}")
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        self.bias = nn.Parameter(torch.tensor(float(bias)))

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss in nats over anchors (A, D), summed over their keys, with positives (A, M, D)."""
        cosine, count = cosines(anchors, positives), len(anchors)  # (A, M)
        scale = self.log_scale.exp()
        of_negatives = negative_sum(
            anchors,
            negatives,
            lambda similarity, t, b: F.softplus(t * similarity + b),
            (scale.expand(count), self.bias.expand(count)),
            positives=cosine,
        )
        loss = (F.softplus(-(scale * cosine + self.bias)).mean(dim=1) + of_negatives).mean()
        figures = {"scale": scale, "bias": self.bias, "negatives": total_weight(anchors, negatives).mean()}
        return StepOutput(loss, {name: value.detach() for name, value in figures.items()})

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return -(t cos + b) (N,), the logit of being incompatible."""
        return -(self.log_scale.exp() * (first * second).sum(dim=1) + self.bias)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `sigmoid`."""
    register("sigmoid", Sigmoid)
