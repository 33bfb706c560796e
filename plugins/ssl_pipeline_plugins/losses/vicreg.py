"""VICReg: similar views of an image (invariance), and dimensions that vary (variance) independently (covariance).

Source: the authors' code (github.com/facebookresearch/vicreg, main_vicreg.py). The variance term of Bardes et al. 2021
(2105.04906) is twice as large: equation 6 and algorithm 1 add the terms of both views, and the code averages them.
Equation 5 sums squared differences over dimensions; algorithm 1 and the code average them. For the paper's algorithm 1,
set `variance` to 50.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.health.projections import outweighed
from ssl_pipeline.types import Finding, Register, Step, StepOutput, ViewLoss

_VARIANCE_EPSILON = 1e-4  # added to a variance, as in the paper
_MAX_HINGE = 0.77  # largest healthy hinge: at most 0.69 in healthy runs, at least 0.82 without the variance term


class VICReg(ViewLoss):
    """λ s(Z, Z') + μ v(Z, Z') + ν c(Z, Z'), with v the mean of two views' terms and c their sum.

    Args:
        invariance: Weight of the mean squared difference, λ >= 0.
        variance: Weight of the hinge on each dimension's standard deviation, which is 0 from 1 on, μ >= 0.
        covariance: Weight of the sum of squared covariances of different dimensions, divided by D, ν >= 0.
    """

    energy_name = "squared_euclidean_distance"
    remedy = "Raise pretrain.loss: {variance: ..., covariance: ...} over {invariance: ...}; 25, 1 and 25 are usual."

    def __init__(self, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0):
        super().__init__()
        if min(invariance, variance, covariance) < 0:
            raise ValueError(
                f"invariance, variance and covariance must be at least 0, got {invariance}, {variance}, {covariance}"
            )
        self.scales = invariance, variance, covariance

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of views (V, N, D), where N is at least 2, against the targets among them (T, N, D)."""
        views, towards = widened(predictions), widened(targets)
        pairs = [(t, v) for t in range(len(towards)) for v in range(t + 1, len(views))]
        terms = {
            "invariance": torch.stack([F.mse_loss(towards[t], views[v]) for t, v in pairs]).mean(),
            "variance": F.relu(1 - (views.var(dim=1) + _VARIANCE_EPSILON).sqrt()).mean(),
            "covariance": 2 * torch.stack([_covariance(view) for view in views]).mean(),
        }
        loss = sum(scale * term for scale, term in zip(self.scales, terms.values(), strict=True))
        assert isinstance(loss, Tensor)
        return StepOutput(loss, {name: term.detach() for name, term in terms.items()})

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return |x - y|² (N,) of unit-norm projections (N, D) and (N, D)."""
        return (first - second).square().sum(dim=1)

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report dimensions that hardly vary, or that vary together."""
        if figures["variance"] > _MAX_HINGE:
            return [
                Finding(
                    "complete collapse",
                    "complete collapse: dimensions fall short of a standard deviation of 1 by "
                    f"{figures['variance']:.2f} on average; up to {_MAX_HINGE} is healthy. {self.remedy}",
                    fatal=True,
                )
            ]
        return outweighed(figures, self.scales[2] * figures["covariance"], figures["loss"], self.dim, self.remedy)


def _covariance(view: Tensor) -> Tensor:
    """Return the sum of squared covariances of different dimensions of a view (N, D), divided by D."""
    centred = view - view.mean(dim=0)
    covariance = centred.T @ centred / (len(view) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / view.shape[1]


@hookimpl
def register_losses(register: Register) -> None:
    """Add `vicreg`."""
    register("vicreg", VICReg)
