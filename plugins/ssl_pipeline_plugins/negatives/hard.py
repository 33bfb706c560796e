"""Hard negatives: the nearer a key is to the anchor, the more it weighs.

Gradients flow through the weights, as in the authors' code. With fixed weights, the gradient would differ by about 17%.

Source: Robinson et al. 2021 (HCL, 2010.04592), equation 4; with a class prior, equation 5.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import log_mass, total_weight
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register, Tile


class Hard(NegativeStrategy):
    """The keys of the batch, with weights proportional to exp(beta s), s being the cosine, that average 1 per anchor.

    Args:
        beta: Concentration, greater than 0, in units of the cosine: the paper's beta divided by the temperature.
    """

    traits = frozenset({"weighted"})

    def __init__(self, *, beta: float):
        super().__init__()
        if beta <= 0:
            raise ValueError(f"beta must be greater than 0, got {beta}")
        self.beta = beta

    def select(self, candidates: Candidates) -> Negatives:
        """Return the keys of the batch, weighted."""
        return self._weighted(candidates, class_prior=0.0)

    def _weighted(self, candidates: Candidates, class_prior: float) -> Negatives:
        plain = candidates.negatives()
        mean = log_mass(candidates.anchors, plain, self.beta) - total_weight(candidates.anchors, plain).log()
        rows = {"log_mean": torch.where(mean.isfinite(), mean, 0.0)}  # an anchor without negatives has no weights
        return candidates.negatives(log_weight=self._log_weight, rows=rows, class_prior=class_prior)

    def _log_weight(self, tile: Tile) -> Tensor:
        return self.beta * tile.similarities - tile.rows["log_mean"]


class HardDebiased(Hard):
    """Hard negatives, corrected for the share of positives among them.

    Args:
        beta: Concentration, greater than 0, in units of the cosine: the paper's beta divided by the temperature.
        class_prior: Share of the negatives that are of the anchor's class, in (0, 1), the paper's τ⁺. If all classes
            are equally frequent, it is 1 / classes.
    """

    traits = frozenset({"weighted", "debiased"})

    def __init__(self, *, beta: float, class_prior: float):
        super().__init__(beta=beta)
        if not 0 < class_prior < 1:
            raise ValueError(f"class_prior must lie between 0 and 1, got {class_prior}")
        self.class_prior = class_prior

    def select(self, candidates: Candidates) -> Negatives:
        """Return the keys of the batch, weighted, with a class prior."""
        return self._weighted(candidates, self.class_prior)


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `hard` and `hard_debiased`."""
    register("hard", Hard)
    register("hard_debiased", HardDebiased)
