"""What losses by a softmax over negatives have in common: a temperature, an energy, and the ways in which they fail."""

from collections.abc import Mapping

from torch import Tensor

from ssl_pipeline.health.negatives import softmax_troubles
from ssl_pipeline.types import Finding, Loss

__all__ = ["SoftmaxLoss"]


class SoftmaxLoss(Loss):
    """A loss in which cosines are divided by a temperature.

    Args:
        temperature: τ > 0. Small: the nearest negatives dominate.

    Raises:
        ValueError: The temperature is not greater than 0.
    """

    energy_name = "negative_cosine_over_temperature"

    def __init__(self, temperature: float):
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be greater than 0, got {temperature}")
        self.temperature = temperature

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """-cos/τ, as the softmax is the Gibbs distribution of this energy."""
        return -(first * second).sum(dim=1) / self.temperature

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """A temperature that is too small or too large."""
        return softmax_troubles(figures, self.temperature)
