"""Truncated: drop the nearest negatives, which are the most likely to be of the anchor's own class.

Source: the argument of Wang et al. 2021 (2104.08760), section 3.2, for losses that use all other negatives.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.ranking import RankRule, rank_threshold
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register, Tile


class Truncated(NegativeStrategy):
    """The keys of the batch, except the `drop` nearest to an anchor; at least one is left.

    Args:
        drop: Number of nearest keys to leave out, at least 1. Set either this or the next two options.
        classes: Number of classes, or an estimate.
        false_negative_probability: Largest probability, in (0, 1), that the nearest key that is left is a false
            negative, from which `drop` follows. All keys of one image are false negatives together
            (`ssl_pipeline.contrast.false_negatives`).
    """

    traits = frozenset({"selected"})

    def __init__(
        self, *, drop: int | None = None, classes: int | None = None, false_negative_probability: float | None = None
    ):
        super().__init__()
        # the nearest key that is left has rank drop + 1
        if drop is not None and drop < 1:
            raise ValueError(f"drop must be at least 1, got {drop}")
        rank = None if drop is None else drop + 1
        self._rule = RankRule(rank, classes, false_negative_probability, name="drop")

    def select(self, candidates: Candidates) -> Negatives:
        """Return all keys of other images that are not among the nearest."""
        plain = candidates.negatives()
        threshold = rank_threshold(candidates.anchors, plain, self._rule.of(candidates.anchors, plain) - 1)
        return candidates.negatives(log_weight=self._log_weight, rows={"threshold": threshold})

    def _log_weight(self, tile: Tile) -> Tensor:
        dropped = tile.similarities > tile.rows["threshold"]
        return torch.zeros_like(tile.similarities).masked_fill(dropped, -torch.inf)


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `truncated`."""
    register("truncated", Truncated)
