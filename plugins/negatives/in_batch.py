"""All views of the other images of the batch are negatives, each with weight 1.

Source: SimCLR (2002.05709), section 2.1.
"""

from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Negatives, NegativeStrategy, Register


class InBatch(NegativeStrategy):
    """The batch itself as keys."""

    def select(self, anchors: Tensor, samples: Tensor) -> Negatives:
        """Every anchor (A, D) is a key to every other one of another sample (A,)."""
        return Negatives(keys=anchors, anchor_samples=samples, key_samples=samples)


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `in_batch`."""
    register("in_batch", InBatch)
