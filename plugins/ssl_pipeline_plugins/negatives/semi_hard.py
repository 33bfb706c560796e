"""Semi-hard negatives: farther from the anchor than its positive, but by no more than a margin.

The hardest negatives, which are nearer than the positive, lead to collapse early in training. Negatives beyond the
margin teach nothing.

Source: Schroff et al. 2015 (FaceNet, 1503.03832), section 3.2.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register, Tile


class SemiHard(NegativeStrategy):
    """The keys of the batch with s⁺ - margin < s < s⁺, where s is the cosine.

    Args:
        margin: Margin in units of the cosine, in (0, 2]: half of the same margin in squared Euclidean distance.
    """

    traits = frozenset({"selected"})

    def __init__(self, *, margin: float):
        super().__init__()
        if not 0 < margin <= 2:
            raise ValueError(f"margin must lie in (0, 2], got {margin}")
        self.margin = margin

    def select(self, candidates: Candidates) -> Negatives:
        """Return all keys of other images that lie within the margin; an anchor may be left without any."""
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
