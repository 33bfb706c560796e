"""Negative log-likelihood: make compatible pairs likely under the Gibbs distribution of the energy.

Source: LeCun et al. 2006, "A Tutorial on Energy-Based Learning", table 1 (NLL).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import log_mass
from ssl_pipeline.parts.pair_energy import EnergyName, PairEnergy
from ssl_pipeline.types import Negatives, Register

_SPLIT = (
    "each functional of the loss 'energy' is now a separate loss: write its name as the loss, such as {name: "
    "generalised_margin, margin: 1.0}, with the options of this functional only, and leave out 'functional'"
)


class NegativeLogLikelihood(PairEnergy):
    """Mean of E⁺ + 1/β log(exp(-β E⁺) + Σ exp(-β E⁻)).

    Args:
        beta: Inverse temperature, β > 0.
        energy: Name of the energy: squared_euclidean (|x - y|², in [0, 4]), cosine (1 - cos, in [0, 2]) or network
            (|g(x) - g(y)|², in [0, 4], where g is a small network that is trained with the encoder).
        hidden_dim: Width of the network's hidden layer, at least 1; null means 64. Allowed only with `energy: network`.
    """

    formerly: Mapping[str, str] = {"energy": _SPLIT, "functional": _SPLIT}

    def __init__(self, *, beta: float = 1.0, energy: EnergyName = "squared_euclidean", hidden_dim: int | None = None):
        super().__init__(energy=energy, hidden_dim=hidden_dim)
        if beta <= 0:
            raise ValueError(f"beta must be greater than 0, got {beta}")
        self.beta = beta

    def functional(self, anchors: Tensor, cosine: Tensor, negatives: Negatives) -> Tensor:
        """Return the loss (A, M) of each anchor (A, D) and positive, given their cosines (A, M)."""

        def logits(similarity: Tensor) -> Tensor:
            return -self.beta * self.of_cosine(similarity)

        positive = logits(cosine)  # (A, M)
        mass = log_mass(anchors, negatives, logits, positives=positive)[:, None]
        return (torch.logaddexp(positive, mass) - positive) / self.beta


@hookimpl
def register_losses(register: Register) -> None:
    """Add `negative_log_likelihood`."""
    register("negative_log_likelihood", NegativeLogLikelihood)
