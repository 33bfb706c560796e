"""Debiased negatives: the share of the negatives that are, unseen, of the anchor's class is subtracted again.

Source: Chuang et al. 2020 (2007.00224), equation 7.
"""

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register


class Debiased(NegativeStrategy):
    """The batch's own keys with a class prior.

    Args:
        class_prior: The paper's τ⁺ in (0, 1); 1 / classes if these are equally frequent.
    """

    traits = frozenset({"debiased"})

    def __init__(self, *, class_prior: float):
        super().__init__()
        if not 0 < class_prior < 1:
            raise ValueError(f"class_prior must lie between 0 and 1, got {class_prior}")
        self.class_prior = class_prior

    def select(self, candidates: Candidates) -> Negatives:
        """Return every key of another sample than the anchor's."""
        return candidates.negatives(class_prior=self.class_prior)


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `debiased`."""
    register("debiased", Debiased)
