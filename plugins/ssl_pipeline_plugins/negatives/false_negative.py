"""False negatives: keys that are the most similar to another view of the anchor's image are taken to be of its class.

That other view, the anchor's positive, is the support view: a key that resembles it too resembles the content of the
image, and not only what one crop happens to show. With `cancel`, such keys are not used as negatives. With `attract`,
they also become positives, which does harm if they are of another class: set a threshold, or start from trained
weights (pretrain.init).

`cancel` works with any loss that accepts selected negatives. `attract` suits losses that average over positives, such
as info_nce with a temperature of 0.1 to 0.2, and large batches, which hold several images of each class.

Source: Huynh et al. 2020 (2011.11765), section 3, with one support view, and ranks and a threshold as filters.
"""

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.ranking import nearest
from ssl_pipeline.contrast.similarity import total_weight
from ssl_pipeline.types import Candidates, Negatives, NegativeStrategy, Register, Tile


class FalseNegative(NegativeStrategy):
    """The keys of the batch, except those nearest to an anchor's positive; at least one is left.

    Args:
        count: Largest number of false negatives per anchor, at least 1; fewer than the images of a class in a batch.
        threshold: Cosine to the positive, in [-1, 1), that a false negative must exceed. -1 sets no threshold.
        mode: Treatment of false negatives: cancel (they are left out) or attract (they also become positives). If fewer
            than `count` exceed the threshold, the anchor's own positive replaces the missing ones and weighs more.
    """

    traits = frozenset({"selected"})

    def __init__(self, *, count: int, threshold: float = -1.0, mode: Literal["cancel", "attract"] = "cancel"):
        super().__init__()
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        if not -1 <= threshold < 1:
            raise ValueError(f"threshold must lie in [-1, 1), got {threshold}")
        self.count, self.threshold, self.attract = count, threshold, mode == "attract"

    def select(self, candidates: Candidates) -> Negatives:
        """Return all keys of other images that are not taken for false negatives."""
        plain = candidates.negatives()
        fewest = total_weight(candidates.anchors, plain).min()
        count = self.count
        if 2 * count > len(candidates.keys):  # there may be fewer; only such small batches wait for the device
            count = min(count, max(0, int(fewest) - 1))
        found = nearest(candidates.positives, plain, count)
        ranks = torch.arange(1, found.keys.shape[1] + 1, device=fewest.device)
        false = (found.similarities > self.threshold) & (ranks < fewest)  # (A, count)

        def log_weight(tile: Tile) -> Tensor:
            width = tile.keys.stop - tile.keys.start
            place = found.keys[tile.anchors] - tile.keys.start
            inside = false[tile.anchors] & (place >= 0) & (place < width)
            weights = torch.zeros(len(place), width + 1, dtype=tile.similarities.dtype, device=place.device)
            weights = weights.scatter(1, place.where(inside, width), -torch.inf)
            return weights[:, :width]  # the last column took the keys of other tiles

        kept = replace(plain, log_weight=log_weight)
        if not self.attract:
            return kept
        attracted = torch.where(false[..., None], candidates.keys[found.keys], candidates.positives[:, None])
        return replace(kept, attracted=attracted)  # (A, count, D)


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `false_negative`."""
    register("false_negative", FalseNegative)
