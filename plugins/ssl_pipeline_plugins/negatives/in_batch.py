"""All views of the other images of the batch are negatives, each with weight 1.

Source: SimCLR (2002.05709), section 2.1.
"""

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register


class InBatch(NegativeStrategy):
    """The batch's own keys."""

    def select(self, candidates: Candidates) -> Negatives:
        """Return every key of another sample than the anchor's."""
        return candidates.negatives()


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `in_batch`."""
    register("in_batch", InBatch)
