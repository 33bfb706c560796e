"""The common part of losses with a softmax over negatives: a temperature, an energy, and signs of failure."""

from collections.abc import Mapping

from torch import Tensor

from ssl_pipeline.health.negatives import softmax_troubles
from ssl_pipeline.types import Finding, Loss

__all__ = ["SoftmaxLoss"]


class SoftmaxLoss(Loss):
    """A loss in which cosines are divided by a temperature.

    Args:
        temperature: Softmax temperature, τ > 0. When it is small, the nearest negatives dominate.

    Raises:
        ValueError: The temperature is not greater than 0.

    Examples:
        >>> import torch
        >>> from ssl_pipeline.contrast.similarity import cosines, log_mass
        >>> from ssl_pipeline.testing.material import make_step
        >>> from ssl_pipeline.types import Negatives, StepOutput
        >>> class Decoupled(SoftmaxLoss):  # the positive is left out of the denominator
        ...     def forward(self, anchors, positives, negatives, step):
        ...         positive = cosines(anchors, positives) / self.temperature  # (A, M)
        ...         mass = log_mass(anchors, negatives, 1 / self.temperature, positives=positive)  # (A,)
        ...         return StepOutput((mass[:, None] - positive).mean(), {})
        >>> keys, ids = torch.eye(4), torch.tensor([7, 9, 7, 9])
        >>> loss = Decoupled(temperature=0.5)(keys, keys[:, None], Negatives(keys, ids, ids), make_step(count=2)).loss
        >>> print(f"{loss:.4f}")  # log 2 - 1 / 0.5
        -1.3069
    """

    energy_name = "negative_cosine_over_temperature"

    def __init__(self, *, temperature: float):
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be greater than 0, got {temperature}")
        self.temperature = temperature

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return -cos/τ (N,), the energy whose Gibbs distribution is the softmax."""
        return -(first * second).sum(dim=1) / self.temperature

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report a temperature that is too small or too large."""
        return softmax_troubles(figures, self.temperature)
