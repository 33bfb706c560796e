"""Curriculum: training begins with easy negatives; nearer ones, which are harder, join over time.

Source: Chu et al. 2021 (CuCo, IJCAI 2021), section 3, with a share that grows linearly.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.ranking import quantiles
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register, Tile


class Curriculum(NegativeStrategy):
    """The keys of the batch without those nearest to the anchor, whose excluded share falls to 0.

    Args:
        start: Share of the keys, the farthest ones, that are negatives in the first step, in (0, 1].
    """

    traits = frozenset({"selected"})

    def __init__(self, *, start: float = 0.5):
        super().__init__()
        if not 0 < start <= 1:
            raise ValueError(f"start must lie in (0, 1], got {start}")
        self.start = start

    def select(self, candidates: Candidates) -> Negatives:
        """Return the keys of other samples whose similarity to the anchor does not exceed a quantile."""
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
