"""Curriculum: easy negatives first; the nearer ones, which are harder, join as training goes on.

Source: Chu et al. 2021 (CuCo, IJCAI 2021), section 3, with a share that grows evenly.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.ranking import quantiles
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register, Tile


class Curriculum(NegativeStrategy):
    """The batch's keys, less the nearest to an anchor: a share of them that falls to 0.

    Args:
        start: Share of the keys, the farthest, that count in the first step, in (0, 1].
    """

    traits = frozenset({"selected"})

    def __init__(self, *, start: float = 0.5):
        super().__init__()
        if not 0 < start <= 1:
            raise ValueError(f"start must lie in (0, 1], got {start}")
        self.start = start

    def select(self, candidates: Candidates) -> Negatives:
        """Return every key of another sample up to a quantile of the anchor's similarities."""
        share = self.start + (1 - self.start) * candidates.step.progress
        limit = quantiles(candidates.anchors, candidates.negatives(), [share])[:, 0]
        figures = {"share": torch.tensor(share)}
        return candidates.negatives(log_weight=self._log_weight, rows={"limit": limit}, figures=figures)

    def _log_weight(self, tile: Tile) -> Tensor:
        too_hard = tile.similarities > tile.rows["limit"]
        return torch.zeros_like(tile.similarities).masked_fill(too_hard, -torch.inf)


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `example_plugin_curriculum`."""
    register("example_plugin_curriculum", Curriculum)
