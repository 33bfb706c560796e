"""Square-exponential: square the energy of compatible pairs, and decay with that of the most offending negative.

Source: LeCun et al. 2006, "A Tutorial on Energy-Based Learning", table 1.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.pair_energy import MOST_OFFENDING, EnergyName, PairEnergy
from ssl_pipeline.types import Negatives, Register, Trait


class SquareExponential(PairEnergy):
    """Mean of (E⁺)² + γ exp(-E⁻), where E⁻ is the lowest energy: that of the most offending negative.

    Args:
        gamma: Weight of the term that pushes negatives away, γ > 0.
        energy: Name of the energy: squared_euclidean (|x - y|², in [0, 4]), cosine (1 - cos, in [0, 2]) or network
            (|g(x) - g(y)|², in [0, 4], where g is a small network that is trained with the encoder).
        hidden_dim: Width of the network's hidden layer, at least 1; null means 64. Allowed only with `energy: network`.
    """

    refuses: Mapping[Trait, str] = {"weighted": MOST_OFFENDING, "debiased": MOST_OFFENDING}

    def __init__(self, *, gamma: float = 1.0, energy: EnergyName = "squared_euclidean", hidden_dim: int | None = None):
        super().__init__(energy=energy, hidden_dim=hidden_dim)
        if gamma <= 0:
            raise ValueError(f"gamma must be greater than 0, got {gamma}")
        self.gamma = gamma

    def functional(self, anchors: Tensor, cosine: Tensor, negatives: Negatives) -> Tensor:
        """Return the loss (A, M) of each anchor (A, D) and positive, given their cosines (A, M)."""
        least, any_left = self.least(anchors, negatives)
        return self.of_cosine(cosine).square() + self.gamma * torch.exp(-least) * any_left


@hookimpl
def register_losses(register: Register) -> None:
    """Add `square_exponential`."""
    register("square_exponential", SquareExponential)
