"""Alignment and uniformity: pull the views of one image together, and spread all images over the sphere.

Source: Wang and Isola 2020 (2005.10242), section 4.
"""

from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import cosines, log_mass, total_weight
from ssl_pipeline.types import Loss, Negatives, Register, Step, StepOutput


class AlignmentUniformity(Loss):
    """Mean |x - x⁺|^α + λ log mean exp(-t |x - x⁻|²).

    The paper averages the second term over the pairs within one view; here it is averaged over all pairs that the
    negative-sampling strategy keeps.

    Args:
        alpha: Exponent of the distance to positives, α > 0.
        t: Scale of the Gaussian potential, t > 0.
        weight: Weight of the uniformity term, λ > 0.
    """

    energy_name = "distance_to_the_power_alpha"

    def __init__(self, *, alpha: float = 2.0, t: float = 2.0, weight: float = 1.0):
        super().__init__()
        for name, value in {"alpha": alpha, "t": t, "weight": weight}.items():
            if value <= 0:
                raise ValueError(f"{name} must be greater than 0, got {value}")
        self.alpha, self.t, self.weight = alpha, t, weight

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the loss over anchors (A, D) with positives (A, M, D); without negatives, uniformity adds nothing."""
        cosine = cosines(anchors, positives)
        align = self._power(cosine).mean()
        count = total_weight(anchors, negatives)
        scale = 2 * self.t  # -t |x - y|² = 2 t cos - 2 t
        mass = log_mass(anchors, negatives, scale, positives=scale * cosine)
        none = count.sum() == 0
        mean = mass.masked_fill(none, 0.0).logsumexp(dim=0) - count.sum().masked_fill(none, 1.0).log()
        uniform = (mean - scale).masked_fill(none, 0.0)
        figures = {"align": align.detach(), "uniform": uniform.detach(), "negatives": count.mean()}
        return StepOutput(align + self.weight * uniform, figures)

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return |x - y|^α (N,)."""
        return self._power((first * second).sum(dim=1))

    def _power(self, cosine: Tensor) -> Tensor:
        squared = (2 - 2 * cosine).clamp(min=0 if self.alpha >= 2 else 1e-12)  # the gradient of a root is infinite at 0
        return squared ** (self.alpha / 2)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `alignment_uniformity`."""
    register("alignment_uniformity", AlignmentUniformity)
