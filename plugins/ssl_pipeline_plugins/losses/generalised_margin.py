"""Generalised margin: a soft margin keeps the energy of a compatible pair below that of the most offending negative.

Source: LeCun et al. 2006, "A Tutorial on Energy-Based Learning", table 1 (log), with a margin.
"""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.pair_energy import MOST_OFFENDING, EnergyName, PairEnergy
from ssl_pipeline.types import Negatives, Register, Trait


class GeneralisedMargin(PairEnergy):
    """Mean of log(1 + exp(m + E⁺ - E⁻)), where E⁻ is the lowest energy: that of the most offending negative.

    Args:
        margin: Margin m, in units of the energy.
        energy: Name of the energy: squared_euclidean (|x - y|², in [0, 4]), cosine (1 - cos, in [0, 2]) or network
            (|g(x) - g(y)|², in [0, 4], where g is a small network that is trained with the encoder).
        hidden_dim: Width of the network's hidden layer, at least 1; null means 64. Allowed only with `energy: network`.
    """

    refuses: Mapping[Trait, str] = {"weighted": MOST_OFFENDING, "debiased": MOST_OFFENDING}

    def __init__(self, *, margin: float = 1.0, energy: EnergyName = "squared_euclidean", hidden_dim: int | None = None):
        super().__init__(energy=energy, hidden_dim=hidden_dim)
        self.margin = margin

    def functional(self, anchors: Tensor, cosine: Tensor, negatives: Negatives) -> Tensor:
        """Return the loss (A, M) of each anchor (A, D) and positive, given their cosines (A, M)."""
        least, any_left = self.least(anchors, negatives)
        return F.softplus(self.margin + self.of_cosine(cosine) - least) * any_left


@hookimpl
def register_losses(register: Register) -> None:
    """Add `generalised_margin`."""
    register("generalised_margin", GeneralisedMargin)
