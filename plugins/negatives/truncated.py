"""Truncated: the nearest negatives are dropped, since they are the likeliest to be of the anchor's own class.

Source: the argument of Wang et al. 2021 (2104.08760), section 3.2, for losses that use all other negatives.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.ranking import rank_for, rank_threshold
from ssl_pipeline.contrast.similarity import total_weight
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register, Tile


class Truncated(NegativeStrategy):
    """The batch's keys without the `drop` nearest to an anchor; at least one is kept.

    Args:
        drop: How many, at least 1; give this or the next two.
        classes: How many classes there are, or a guess.
        false_negative_probability: Of the nearest key that is kept, in (0, 1), which `drop` follows from.
    """

    traits = frozenset({"selected"})

    def __init__(
        self, drop: int | None = None, classes: int | None = None, false_negative_probability: float | None = None
    ):
        super().__init__()
        by_chance = classes is not None and false_negative_probability is not None
        if (drop is None) == (not by_chance):
            raise ValueError("give either drop, or classes and false_negative_probability")
        if drop is not None and drop < 1:
            raise ValueError(f"drop must be at least 1, got {drop}")
        if classes is not None and classes < 2:
            raise ValueError(f"classes must be at least 2, got {classes}")
        if false_negative_probability is not None and not 0 < false_negative_probability < 1:
            raise ValueError(f"false_negative_probability must lie between 0 and 1, got {false_negative_probability}")
        self._drop, self._classes, self._probability = drop, classes, false_negative_probability

    def drop(self, count: int) -> int:
        """How many of an anchor's `count` negatives are dropped."""
        wanted = self._drop
        if wanted is None:
            assert self._classes is not None
            assert self._probability is not None
            wanted = rank_for(self._probability, self._classes, count) - 1
        return max(0, min(wanted, count - 1))

    def select(self, candidates: Candidates) -> Negatives:
        """Every key of another sample that is not among the nearest."""
        samples = candidates.anchor_samples, candidates.key_samples
        plain = Negatives(candidates.keys, *samples)
        drop = self.drop(int(total_weight(candidates.anchors, plain).min()))
        threshold = rank_threshold(candidates.anchors, plain, drop)
        return Negatives(candidates.keys, *samples, log_weight=self._log_weight, rows={"threshold": threshold})

    def _log_weight(self, tile: Tile) -> Tensor:
        dropped = tile.similarities > tile.rows["threshold"]
        return torch.zeros_like(tile.similarities).masked_fill(dropped, -torch.inf)


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `truncated`."""
    register("truncated", Truncated)
