"""Debiased negatives: subtract the share of negatives that are expected to be of the anchor's own class.

Source: Chuang et al. 2020 (2007.00224), equation 7.
"""

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register


class Debiased(NegativeStrategy):
    """The keys of the batch, with a class prior.

    Args:
        class_prior: Share of the negatives that are of the anchor's class, in (0, 1), the paper's τ⁺. If all classes
            are equally frequent, it is 1 / classes.
    """

    traits = frozenset({"debiased"})

    def __init__(self, *, class_prior: float):
        super().__init__()
        if not 0 < class_prior < 1:
            raise ValueError(f"class_prior must lie between 0 and 1, got {class_prior}")
        self.class_prior = class_prior

    def select(self, candidates: Candidates) -> Negatives:
        """Return all keys except those of the anchor's own image."""
        return candidates.negatives(class_prior=self.class_prior)


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `debiased`."""
    register("debiased", Debiased)
