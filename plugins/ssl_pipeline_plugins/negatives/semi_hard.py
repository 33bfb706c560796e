"""Semi-hard negatives: farther than the positive, but not by more than a margin.

The hardest ones, nearer than the positive, lead to collapse early on; those beyond the margin teach nothing.

Source: Schroff et al. 2015 (FaceNet, 1503.03832), section 3.2.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register, Tile


class SemiHard(NegativeStrategy):
    """The batch's keys with s⁺ - margin < s < s⁺, s being the cosine.

    Args:
        margin: Margin in units of the cosine, in (0, 2]; half of one in squared Euclidean distance.
    """

    traits = frozenset({"selected"})

    def __init__(self, *, margin: float):
        super().__init__()
        if not 0 < margin <= 2:
            raise ValueError(f"margin must lie in (0, 2], got {margin}")
        self.margin = margin

    def select(self, candidates: Candidates) -> Negatives:
        """Keep the keys of other samples that lie within the margin; an anchor may be left without any."""
        positive = (candidates.anchors * candidates.positives).sum(dim=1).detach().float()
        return candidates.negatives(log_weight=self._log_weight, rows={"positive": positive})

    def _log_weight(self, tile: Tile) -> Tensor:
        positive = tile.rows["positive"]
        kept = (tile.similarities < positive) & (tile.similarities > positive - self.margin)
        return torch.zeros_like(tile.similarities).masked_fill(~kept, -torch.inf)


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `semi_hard`."""
    register("semi_hard", SemiHard)
