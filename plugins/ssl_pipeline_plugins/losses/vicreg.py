"""VICReg: views of one image alike (invariance), dimensions that vary (variance), and independently (covariance).

Source: the authors' code (github.com/facebookresearch/vicreg, main_vicreg.py). Bardes et al. 2021 (2105.04906) have
twice its variance term: equation 6 and algorithm 1 add up those of both views, of which the code takes the mean.
Equation 5 sums the squared differences over dimensions; algorithm 1 and the code take their mean. For the paper's
algorithm 1 set `variance` to 50.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.health.projections import outweighed
from ssl_pipeline.types import Finding, Register, Step, StepOutput, ViewLoss

_VARIANCE_EPSILON = 1e-4  # beside a variance, as in the paper
_MAX_HINGE = 0.77  # of the hinge: 0.69 at most in healthy runs, 0.82 and more without the variance term


class VICReg(ViewLoss):
    """λ s(Z, Z') + μ v(Z, Z') + ν c(Z, Z'), with v the mean of two views' terms and c their sum.

    Args:
        invariance: Weight of the mean squared difference, λ >= 0.
        variance: Weight of the hinge of a dimension's standard deviation at 1, μ >= 0.
        covariance: Weight of the squared covariances of different dimensions, over D, ν >= 0.
    """

    energy_name = "squared_euclidean_distance"
    remedy = "Raise pretrain.loss: {variance: ..., covariance: ...} against {invariance: ...}; 25, 1 and 25 are usual."

    def __init__(self, *, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0):
        super().__init__()
        if min(invariance, variance, covariance) < 0:
            raise ValueError(
                f"invariance, variance and covariance must be at least 0, got {invariance}, {variance}, {covariance}"
            )
        self.scales = invariance, variance, covariance

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of views (V, N, D), N of at least 2, against those T of them that are targets (T, N, D)."""
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
                    f"{figures['variance']:.2f} on average, and up to {_MAX_HINGE} is healthy. {self.remedy}",
                    fatal=True,
                )
            ]
        return outweighed(figures, self.scales[2] * figures["covariance"], figures["loss"], self.dim, self.remedy)


def _covariance(view: Tensor) -> Tensor:
    """Return the summed squares of the covariances of different dimensions of (N, D), over D."""
    centred = view - view.mean(dim=0)
    covariance = centred.T @ centred / (len(view) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / view.shape[1]


@hookimpl
def register_losses(register: Register) -> None:
    """Add `vicreg`."""
    register("vicreg", VICReg)
