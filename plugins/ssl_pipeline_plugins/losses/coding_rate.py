"""Coding rate: the projections of each view fill the space, and many views of an image stay close to their mean.

Source: Tong et al. 2023 (EMP-SSL, 2304.03977), equations 2 to 4. The distortion is not squared, as in the authors'
code.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.health.projections import outweighed
from ssl_pipeline.types import Finding, Register, Step, StepOutput, ViewLoss


class CodingRate(ViewLoss):
    """Mean over views of -½ log det(I + D / (N ε) Zᵀ Z) - λ cos(z, mean z), with unit-norm rows of Z (N, D).

    Args:
        distortion: Distortion that the code allows, ε > 0.
        invariance: Weight of the agreement between views, λ >= 0.
    """

    remedy = "Lower pretrain.loss: {invariance: ...}, which outweighs the coding rate."

    def __init__(self, *, distortion: float = 0.2, invariance: float = 200.0):
        super().__init__()
        if distortion <= 0:
            raise ValueError(f"distortion must be greater than 0, got {distortion}")
        if invariance < 0:
            raise ValueError(f"invariance must be at least 0, got {invariance}")
        self.distortion, self.invariance = distortion, invariance

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of views (V, N, D). All views play the same part, so targets are ignored."""
        del targets
        unit = F.normalize(widened(predictions), dim=2)
        images, dim = unit.shape[1:]
        gram = torch.einsum("vnd,vne->vde", unit, unit) * (dim / (images * self.distortion))
        rate = torch.linalg.slogdet(torch.eye(dim, dtype=gram.dtype, device=gram.device) + gram).logabsdet.mean() / 2
        cosine = F.cosine_similarity(unit, unit.mean(dim=0, keepdim=True), dim=2).mean()
        metrics = {"coding_rate": rate.detach(), "cosine_to_mean": cosine.detach()}
        return StepOutput(-rate - self.invariance * cosine, metrics)

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report projections that crowd together because the coding rate hardly contributes to the loss."""
        return outweighed(figures, figures["coding_rate"], figures["loss"], self.dim, self.remedy)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `coding_rate`."""
    register("coding_rate", CodingRate)
