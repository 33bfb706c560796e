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
    share: Tensor

    def __init__(self, start: float = 0.5):
        super().__init__()
        if not 0 < start <= 1:
            raise ValueError(f"start must lie in (0, 1], got {start}")
        self.start = start
        self.register_buffer("share", torch.tensor(start))  # a checkpoint has it, so that a resumed run goes on from it

    def select(self, candidates: Candidates) -> Negatives:
        """Every key of another sample up to a quantile of the anchor's similarities."""
        keys, *samples = candidates.keys, candidates.anchor_samples, candidates.key_samples
        limit = quantiles(candidates.anchors, Negatives(keys, *samples), [self.share.item()])[:, 0]
        return Negatives(keys, *samples, self._log_weight, {"limit": limit}, figures={"share": self.share.clone()})

    def _log_weight(self, tile: Tile) -> Tensor:
        too_hard = tile.similarities > tile.rows["limit"]
        return torch.zeros_like(tile.similarities).masked_fill(too_hard, -torch.inf)

    def after_step(self, progress: float) -> None:
        """Let nearer keys join."""
        self.share.fill_(self.start + (1 - self.start) * progress)


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `example_plugin_curriculum`."""
    register("example_plugin_curriculum", Curriculum)
