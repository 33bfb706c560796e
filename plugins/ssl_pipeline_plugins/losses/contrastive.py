"""The contrastive loss: a spring pulls compatible pairs together and pushes other pairs apart, up to a margin.

Source: Hadsell, Chopra and LeCun 2006, equation 4, for squared distances and without its factors of 1/2.
"""

from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.pair_energy import EnergyName, PairEnergy
from ssl_pipeline.types import Negatives, Register

_NO_SLOPE_AT_0 = 1e-12  # the gradient of a root is infinite at 0


class Contrastive(PairEnergy):
    """Mean of E⁺ + mean [m - √E⁻]₊².

    Args:
        margin: Margin m for the distance √E⁻, greater than 0 and less than the root of the largest energy.
        energy: Name of the energy: squared_euclidean (|x - y|², in [0, 4]), cosine (1 - cos, in [0, 2]) or network
            (|g(x) - g(y)|², in [0, 4], where g is a small network that is trained with the encoder).
        hidden_dim: Width of the network's hidden layer, at least 1; null means 64. Allowed only with `energy: network`.
    """

    def __init__(self, *, margin: float = 1.0, energy: EnergyName = "squared_euclidean", hidden_dim: int | None = None):
        super().__init__(energy=energy, hidden_dim=hidden_dim)
        widest = self.largest**0.5
        if not 0 < margin < widest:
            raise ValueError(f"margin must lie between 0 and {widest:g}, the root of the largest energy; got {margin}")
        self.margin = margin

    def functional(self, anchors: Tensor, cosine: Tensor, negatives: Negatives) -> Tensor:
        """Return the loss (A, M) of each anchor (A, D) and positive, given their cosines (A, M)."""

        def push(similarity: Tensor) -> Tensor:
            distance = self.of_cosine(similarity).clamp(min=_NO_SLOPE_AT_0).sqrt()
            return F.relu(self.margin - distance).square()

        return self.of_cosine(cosine) + self.mean(anchors, cosine, negatives, push)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `contrastive`."""
    register("contrastive", Contrastive)
