"""In-batch negatives: all views of the other images in the batch, each with weight 1.

Source: SimCLR (2002.05709), section 2.1.
"""

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register


class InBatch(NegativeStrategy):
    """The keys of the batch."""

    def select(self, candidates: Candidates) -> Negatives:
        """Return all keys except those of the anchor's own image."""
        return candidates.negatives()


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `in_batch`."""
    register("in_batch", InBatch)
