"""The common part of losses with an explicit energy of pairs: the energy, and the parts of its functionals.

A loss functional lowers the energy of compatible pairs and raises that of others; each functional is a separate loss.

Source: LeCun et al. 2006, "A Tutorial on Energy-Based Learning", sections 2 and 3.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal

from torch import Tensor

from ssl_pipeline.contrast.distance import DISTANCES
from ssl_pipeline.contrast.ranking import mean_of_ranks
from ssl_pipeline.contrast.similarity import cosines, negative_sum, total_weight
from ssl_pipeline.parts.pair_network import PairNetwork
from ssl_pipeline.types import Loss, Negatives, Step, StepOutput

__all__ = ["MOST_OFFENDING", "EnergyName", "PairEnergy"]

EnergyName = Literal["squared_euclidean", "cosine", "network"]

_OF_COSINES = "weights are functions of the cosines of projections, but a network's energy is not"
MOST_OFFENDING = "its functional uses only the most offending negative, which weights do not affect"
"""Why a loss whose functional uses the `least` energy refuses strategies that weight or debias."""


class PairEnergy(Loss):
    """Mean over anchors of a functional of the energies E⁺ of compatible and E⁻ of incompatible pairs.

    Args:
        energy: Name of the energy: squared_euclidean (|x - y|², in [0, 4]), cosine (1 - cos, in [0, 2]) or network
            (|g(x) - g(y)|², in [0, 4], where g is a small network that is trained with the encoder).
        hidden_dim: Width of the network's hidden layer, at least 1; null means 64. Allowed only with `energy: network`.

    Raises:
        ValueError: The width is less than 1, or is set although the energy has no network.

    Examples:
        >>> import torch
        >>> from ssl_pipeline.testing.material import make_step
        >>> class Perceptron(PairEnergy):  # the energy of the compatible pair, less that of the worst other one
        ...     refuses = {"weighted": MOST_OFFENDING, "debiased": MOST_OFFENDING}
        ...     def functional(self, anchors, cosine, negatives):
        ...         least, any_left = self.least(anchors, negatives)
        ...         return self.of_cosine(cosine) - least * any_left
        >>> keys, ids = torch.eye(4), torch.tensor([7, 9, 7, 9])
        >>> Perceptron()(keys, keys[:, None], Negatives(keys, ids, ids), make_step(count=2)).loss  # 0 - 2
        tensor(-2.)
    """

    def __init__(self, *, energy: EnergyName = "squared_euclidean", hidden_dim: int | None = None):
        super().__init__()
        learned = energy == "network"
        if hidden_dim is not None and not learned:
            raise ValueError(f"hidden_dim belongs to energy: network, but energy is {energy}: leave hidden_dim out")
        if hidden_dim is not None and hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, got {hidden_dim}")
        self.network: PairNetwork | None = None
        self._hidden_dim = (hidden_dim or 64) if learned else 0
        self.of_cosine, self.largest = DISTANCES["squared_euclidean" if learned else energy]
        self.energy_name = f"{energy}_distance"
        if learned:
            self.refuses = {"weighted": _OF_COSINES, **self.refuses}

    def fit_to(self, dim: int) -> None:
        """Build the network, if there is one, for projections of this length."""
        super().fit_to(dim)
        if self._hidden_dim:
            self.network = PairNetwork(dim, self._hidden_dim)

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss over anchors (A, D) with positives (A, M, D), all unit-norm."""
        if self.network is not None:
            anchors, negatives = self.network.move(anchors, negatives)
            positives = self.network(positives)
        cosine = cosines(anchors, positives)  # (A, M)
        loss = self.functional(anchors, cosine, negatives).mean()
        return StepOutput(loss, {"negatives": total_weight(anchors, negatives).mean()})

    @abstractmethod
    def functional(self, anchors: Tensor, cosine: Tensor, negatives: Negatives) -> Tensor:
        """Return the loss (A, M) of each anchor (A, D) and positive, given their cosines (A, M)."""

    def least(self, anchors: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor]:
        """Return the energy (A, 1) of an anchor's most offending negative, and whether the anchor has any (A, 1)."""
        offending = cosines(anchors, mean_of_ranks(anchors, negatives, 1, 1)[:, None])
        return self.of_cosine(offending), (total_weight(anchors, negatives) > 0)[:, None]

    @staticmethod
    def mean(anchors: Tensor, cosine: Tensor, negatives: Negatives, push: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the mean (A, 1) of a function of cosines over an anchor's negatives."""
        total = negative_sum(anchors, negatives, push, positives=cosine)
        return (total / total_weight(anchors, negatives).clamp(min=1e-12))[:, None]

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the energies (N,) of the kind that `energy` names."""
        if self.network is not None:
            first, second = self.network(first), self.network(second)
        return self.of_cosine((first * second).sum(dim=1))
