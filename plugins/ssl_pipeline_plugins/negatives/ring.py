"""Ring: use neither the nearest negatives, which may be false, nor the farthest, which teach nothing.

Thresholds are quantiles of each anchor's similarities, computed from histograms whose memory does not grow with the
number of keys (`ssl_pipeline.contrast.ranking.quantiles`).

Source: Wu et al. 2021 (conditional negative sampling, 2010.02037), section 3.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.ranking import quantiles
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register, Tile


class Ring(NegativeStrategy):
    """The keys of the batch between two quantiles of an anchor's similarities.

    Args:
        lower: Lower quantile of the ring, in [0, upper); 0 is the least similar key.
        upper: Upper quantile of the ring, in (lower, 1].
    """

    traits = frozenset({"selected"})

    def __init__(self, *, lower: float, upper: float):
        super().__init__()
        if not 0 <= lower < upper <= 1:
            raise ValueError(f"lower and upper must satisfy 0 <= lower < upper <= 1, got {lower} and {upper}")
        self.lower, self.upper = lower, upper

    def select(self, candidates: Candidates) -> Negatives:
        """Return all keys of other images that lie in the ring."""
        low, high = quantiles(candidates.anchors, candidates.negatives(), [self.lower, self.upper]).unbind(dim=1)
        return candidates.negatives(log_weight=self._log_weight, rows={"low": low, "high": high})

    def _log_weight(self, tile: Tile) -> Tensor:
        kept = (tile.similarities >= tile.rows["low"]) & (tile.similarities <= tile.rows["high"])
        return torch.zeros_like(tile.similarities).masked_fill(~kept, -torch.inf)


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `ring`."""
    register("ring", Ring)
