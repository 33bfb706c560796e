"""Explicit energies: an energy of pairs, and a loss functional that pulls it down where compatible and up elsewhere.

Sources: LeCun et al. 2006, "A Tutorial on Energy-Based Learning", table 1 and sections 2 and 3; the contrastive hinge:
Hadsell, Chopra and LeCun 2006, equation 4.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.distance import DISTANCES
from ssl_pipeline.contrast.ranking import mean_of_ranks
from ssl_pipeline.contrast.similarity import cosines, log_mass, negative_sum, total_weight
from ssl_pipeline.parts.pair_network import PairNetwork
from ssl_pipeline.types import Loss, Negatives, Register, Step, StepOutput

_MOST_OFFENDING = "its functional looks at the most offending negative alone, on which weights have no say"
_OF_COSINES = "its weights are functions of the cosines of projections, which a network's energy is not"
_NO_SLOPE_AT_0 = 1e-12  # under a root


class Energy(Loss):
    """Mean over anchors of a functional of the energies E⁺ of compatible and E⁻ of incompatible pairs.

    - contrastive: E⁺ + mean [m - √E⁻]₊², Hadsell's for squared distances, without the halves;
    - square_exponential: (E⁺)² + γ exp(-E⁻), with the least E⁻, that of the most offending pair, as in table 1;
    - mean_square_exponential: (E⁺)² + γ mean exp(-E⁻), in which all pairs have a say;
    - generalised_margin: log(1 + exp(m + E⁺ - E⁻)), with the least E⁻;
    - negative_log_likelihood: E⁺ + 1/β log(exp(-β E⁺) + Σ exp(-β E⁻)).

    Args:
        functional: Name of the loss functional, one of those above.
        energy: squared_euclidean: |x - y|², in [0, 4]; cosine: 1 - cos, in [0, 2]; network: |g(x) - g(y)|², in [0, 4],
            with a small network g that is learned along.
        margin: Margin m of contrastive (greater than 0 and less than the root of the largest energy) and
            generalised_margin.
        gamma: Scale γ > 0 of square_exponential and mean_square_exponential.
        beta: Inverse temperature β > 0 of negative_log_likelihood.
        hidden_dim: Width of the network's hidden layer.
    """

    def __init__(
        self,
        *,
        functional: Literal[
            "contrastive",
            "square_exponential",
            "mean_square_exponential",
            "generalised_margin",
            "negative_log_likelihood",
        ],
        energy: Literal["squared_euclidean", "cosine", "network"] = "squared_euclidean",
        margin: float = 1.0,
        gamma: float = 1.0,
        beta: float = 1.0,
        hidden_dim: int = 64,
    ):
        super().__init__()
        if hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, got {hidden_dim}")
        self.network: PairNetwork | None = None
        self._hidden_dim = hidden_dim if energy == "network" else 0
        self._energy = DISTANCES["squared_euclidean" if energy == "network" else energy]
        widest = self._energy.largest**0.5
        if functional == "contrastive" and not 0 < margin < widest:
            raise ValueError(f"margin must lie between 0 and {widest:g}, the root of the largest energy; got {margin}")
        if min(gamma, beta) <= 0:
            raise ValueError(f"gamma and beta must be greater than 0, got {gamma} and {beta}")
        self.margin, self.gamma, self.beta = margin, gamma, beta
        self.energy_name = f"{energy}_distance"
        self._functional = {
            "contrastive": self._contrastive,
            "square_exponential": self._square_exponential,
            "mean_square_exponential": self._mean_square_exponential,
            "generalised_margin": self._generalised_margin,
            "negative_log_likelihood": self._negative_log_likelihood,
        }[functional]
        if energy == "network":
            self.refuses = {"weighted": _OF_COSINES}
        if functional in ("square_exponential", "generalised_margin"):
            self.refuses = {"weighted": _MOST_OFFENDING, "debiased": _MOST_OFFENDING}

    def fit_to(self, dim: int) -> None:
        """Make the network, where there is one, for projections of this length."""
        if self._hidden_dim:
            self.network = PairNetwork(dim, self._hidden_dim)

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss over anchors (A, D) with positives (A, M, D), all unit-norm."""
        if self.network is not None:
            negatives = self.network.move(anchors, negatives)
            anchors, positives = self.network(anchors), self.network(positives)
        cosine = cosines(anchors, positives)  # (A, M)
        loss = self._functional(anchors, cosine, negatives).mean()
        return StepOutput(loss, {"negatives": total_weight(anchors, negatives).mean()})

    def _contrastive(self, anchors: Tensor, cosine: Tensor, negatives: Negatives) -> Tensor:
        def push(similarity: Tensor) -> Tensor:
            distance = self._energy.of_cosine(similarity).clamp(min=_NO_SLOPE_AT_0).sqrt()
            return F.relu(self.margin - distance).square()

        return self._energy.of_cosine(cosine) + self._mean(anchors, cosine, negatives, push)

    def _square_exponential(self, anchors: Tensor, cosine: Tensor, negatives: Negatives) -> Tensor:
        least, any_left = self._least(anchors, negatives)
        return self._energy.of_cosine(cosine).square() + self.gamma * torch.exp(-least) * any_left

    def _mean_square_exponential(self, anchors: Tensor, cosine: Tensor, negatives: Negatives) -> Tensor:
        def push(similarity: Tensor) -> Tensor:
            return self.gamma * torch.exp(-self._energy.of_cosine(similarity))

        return self._energy.of_cosine(cosine).square() + self._mean(anchors, cosine, negatives, push)

    def _generalised_margin(self, anchors: Tensor, cosine: Tensor, negatives: Negatives) -> Tensor:
        least, any_left = self._least(anchors, negatives)
        return F.softplus(self.margin + self._energy.of_cosine(cosine) - least) * any_left

    def _negative_log_likelihood(self, anchors: Tensor, cosine: Tensor, negatives: Negatives) -> Tensor:
        def logits(similarity: Tensor) -> Tensor:
            return -self.beta * self._energy.of_cosine(similarity)

        positive = logits(cosine)  # (A, M)
        mass = log_mass(anchors, negatives, logits, positives=positive)[:, None]
        return (torch.logaddexp(positive, mass) - positive) / self.beta

    def _least(self, anchors: Tensor, negatives: Negatives) -> tuple[Tensor, Tensor]:
        """Return the energy (A, 1) of an anchor's most offending negative, and whether (A, 1) it has any."""
        offending = cosines(anchors, mean_of_ranks(anchors, negatives, 1, 1)[:, None])
        return self._energy.of_cosine(offending), (total_weight(anchors, negatives) > 0)[:, None]

    @staticmethod
    def _mean(anchors: Tensor, cosine: Tensor, negatives: Negatives, push: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the mean (A, 1) of a term over an anchor's negatives."""
        total = negative_sum(anchors, negatives, push, positives=cosine)
        return (total / total_weight(anchors, negatives).clamp(min=1e-12))[:, None]

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the energy chosen."""
        if self.network is not None:
            first, second = self.network(first), self.network(second)
        return self._energy.of_cosine((first * second).sum(dim=1))


@hookimpl
def register_losses(register: Register) -> None:
    """Add `energy`."""
    register("energy", Energy)
