"""Spectral contrastive loss: its minimiser factorises the graph in which views of one image are neighbours.

Source: HaoChen et al. 2021 (2106.04156), equation 6, divided by μ as in the authors' code
(github.com/jhaochenz96/spectral_contrastive_learning, models/spectral.py), so that their learning rates apply here.

Losses of this project compare vectors of one length, so all features are scaled to the length √μ. The authors shorten
features that are longer and leave the others; after a batch normalisation of thousands of dimensions, all are longer at
first. They also compare a first view with second views only. That is `keys: other_view` of the pretext task, and has
the same expectation.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import cosines, negative_sum, total_weight
from ssl_pipeline.types import Loss, Negatives, Register, Step, StepOutput


class Spectral(Loss):
    """-2 mean s⁺ + μ mean (s⁻)², with s the cosine.

    Args:
        radius: Squared length to which features are scaled, μ > 0.
    """

    energy_name = "negative_scaled_cosine"

    def __init__(self, *, radius: float = 1.0):
        super().__init__()
        if radius <= 0:
            raise ValueError(f"radius must be greater than 0, got {radius}")
        self.radius = radius

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the loss over anchors (A, D) with positives (A, M, D), all unit-norm."""
        cosine = cosines(anchors, positives)
        weight = total_weight(anchors, negatives)
        squares = negative_sum(anchors, negatives, torch.square, positives=cosine)
        loss = self.radius * squares.sum() / weight.sum().clamp(min=1) - 2 * cosine.mean()
        return StepOutput(loss, {"negatives": weight.mean()})

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return -μ cos (N,)."""
        return -self.radius * (first * second).sum(dim=1)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `spectral`."""
    register("spectral", Spectral)
