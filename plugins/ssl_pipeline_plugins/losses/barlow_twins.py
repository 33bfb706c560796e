"""Barlow Twins: each dimension correlates with itself across two views, and with no other dimension.

Source: Zbontar et al. 2021 (2103.03230), equations 1 and 2.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.health.projections import outweighed
from ssl_pipeline.types import Finding, Register, Step, StepOutput, ViewLoss

_VARIANCE_EPSILON = 1e-5  # added to a variance, as in BatchNorm


class BarlowTwins(ViewLoss):
    """Σᵢ (1 - Cᵢᵢ)² + λ Σᵢ Σⱼ≠ᵢ Cᵢⱼ², where C (D, D) correlates two views' projections over the batch.

    Args:
        redundancy: Weight of the redundancy term, λ > 0.
    """

    def __init__(self, *, redundancy: float = 5e-3):
        super().__init__()
        if redundancy <= 0:
            raise ValueError(f"redundancy must be greater than 0, got {redundancy}")
        self.redundancy = redundancy

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the mean loss over pairs of a target (T, N, D) and a later view (V, N, D)."""
        first, second = standardised(targets), standardised(predictions)
        found = [self._of(first[t], second[v]) for t in range(len(first)) for v in range(t + 1, len(second))]
        on, off = (torch.stack(terms).mean() for terms in zip(*found, strict=True))
        loss = on + self.redundancy * off
        return StepOutput(loss, {"on_diagonal": on.detach(), "off_diagonal": off.detach()})

    @staticmethod
    def _of(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        correlation = first.T @ second / len(first)
        itself = correlation.diagonal()
        return (1 - itself).square().sum(), correlation.square().sum() - itself.square().sum()

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report redundant dimensions, which vary together."""
        remedy = "Raise pretrain.loss: {redundancy: ...}; 0.005 is usual."
        return outweighed(figures, self.redundancy * figures["off_diagonal"], figures["loss"], self.dim, remedy)


def standardised(views: Tensor) -> Tensor:
    """Return views (V, N, D) with each dimension standardised to mean 0 and standard deviation 1 over the batch."""
    wide = widened(views)
    variance, mean = torch.var_mean(wide, dim=1, keepdim=True, correction=0)
    return (wide - mean) / (variance + _VARIANCE_EPSILON).sqrt()


@hookimpl
def register_losses(register: Register) -> None:
    """Add `barlow_twins`."""
    register("barlow_twins", BarlowTwins)
