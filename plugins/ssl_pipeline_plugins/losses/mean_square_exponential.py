"""Mean square-exponential: like `square_exponential`, but every negative contributes, not only the most offending one.

Source: LeCun et al. 2006, "A Tutorial on Energy-Based Learning", table 1, with a mean in place of the lowest energy.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.pair_energy import EnergyName, PairEnergy
from ssl_pipeline.types import Negatives, Register


class MeanSquareExponential(PairEnergy):
    """Mean of (E⁺)² + γ mean exp(-E⁻).

    Args:
        gamma: Weight of the term that pushes negatives away, γ > 0.
        energy: Name of the energy: squared_euclidean (|x - y|², in [0, 4]), cosine (1 - cos, in [0, 2]) or network
            (|g(x) - g(y)|², in [0, 4], where g is a small network that is trained with the encoder).
        hidden_dim: Width of the network's hidden layer, at least 1; null means 64. Allowed only with `energy: network`.
    """

    def __init__(self, *, gamma: float = 1.0, energy: EnergyName = "squared_euclidean", hidden_dim: int | None = None):
        super().__init__(energy=energy, hidden_dim=hidden_dim)
        if gamma <= 0:
            raise ValueError(f"gamma must be greater than 0, got {gamma}")
        self.gamma = gamma

    def functional(self, anchors: Tensor, cosine: Tensor, negatives: Negatives) -> Tensor:
        """Return the loss (A, M) of each anchor (A, D) and positive, given their cosines (A, M)."""

        def push(similarity: Tensor) -> Tensor:
            return self.gamma * torch.exp(-self.of_cosine(similarity))

        return self.of_cosine(cosine).square() + self.mean(anchors, cosine, negatives, push)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `mean_square_exponential`."""
    register("mean_square_exponential", MeanSquareExponential)
