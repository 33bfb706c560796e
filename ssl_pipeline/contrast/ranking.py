"""The keys nearest to an anchor, and thresholds on its similarities, without gradients and in bounded memory.

The candidates of an anchor are the keys of other samples that the weights of the negatives do not leave out.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_pipeline.contrast.false_negatives import key_counts, rank_for
from ssl_pipeline.contrast.fold import edge, left_out, spans
from ssl_pipeline.contrast.similarity import total_weight, widened
from ssl_pipeline.types import Negatives, Tile

__all__ = ["Nearest", "RankRule", "masked_tiles", "mean_of_ranks", "nearest", "quantiles", "rank_threshold"]

_BINS_PER_PASS, _PASSES_OVER_KEYS = (
    256,
    3,
)  # each pass over the keys divides the bin that holds a quantile into 256 bins: 2 / 256³ is 1e-7
_LARGEST_FLOAT32_BELOW_1 = 1 - 2**-24


class Nearest(NamedTuple):
    """The keys nearest to each anchor, nearest first.

    Attributes:
        similarities: Cosines (A, k), -inf if an anchor has fewer candidates.
        keys: Positions (A, k) int64 of the keys, 0 for missing candidates.
    """

    similarities: Tensor
    keys: Tensor


@torch.no_grad()
def nearest(anchors: Tensor, negatives: Negatives, k: int) -> Nearest:
    """Find the k most similar candidates of each anchor (A, D); all keys if there are fewer than k.

    Examples:
        >>> keys, ids = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), torch.tensor([1, 2, 3])
        >>> nearest(keys, Negatives(keys, ids, ids), k=1).keys[:, 0].tolist()
        [1, 0, 1]
    """
    k = min(k, len(negatives.keys))
    parts = []
    for span, tiles in masked_tiles(anchors, negatives):
        values = widened(anchors.detach()[span, :0])  # none yet
        positions = negatives.key_samples.new_empty(values.shape)
        for tile, similarities in tiles:
            place = torch.arange(tile.keys.start, tile.keys.stop, device=anchors.device).expand_as(similarities)
            merged = torch.cat([values, similarities], dim=1)
            values, best = merged.topk(min(k, merged.shape[1]), dim=1)
            positions = torch.cat([positions, place], dim=1).gather(1, best)
        parts.append(Nearest(values, positions.masked_fill(values == -torch.inf, 0)))
    return Nearest(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def rank_threshold(anchors: Tensor, negatives: Negatives, k: int) -> Tensor:
    """Find a similarity (A,) that exactly k candidates of an anchor exceed; -inf if there are at most k.

    It lies halfway between two ranks, so that rounding cannot move a key across it.
    """
    found = nearest(anchors, negatives, k + 1).similarities
    if found.shape[1] <= k:
        return found.new_full((len(anchors),), -torch.inf)
    return (found[:, k - 1] + found[:, k]) / 2 if k else found.new_full((len(anchors),), torch.inf)


def mean_of_ranks(anchors: Tensor, negatives: Negatives, first: int, last: int) -> Tensor:
    """Return the mean (A, D) of an anchor's candidates from rank `first` to rank `last`; rank 1 is the nearest.

    As similarity is linear, an anchor's similarity to this mean is its mean similarity to those keys. Gradients reach
    the keys. Ranks beyond an anchor's last candidate are left out; without any candidate, the mean is 0.
    """
    found = nearest(anchors, negatives, last)
    ranked = found.keys[:, first - 1 :]
    present = (found.similarities[:, first - 1 :] > -torch.inf).to(widened(anchors).dtype)
    shares = present / present.sum(dim=1, keepdim=True).clamp(min=1)
    summed: Tensor = torch.nn.functional.embedding_bag(
        ranked, widened(negatives.keys), mode="sum", per_sample_weights=shares
    )
    return summed


@torch.no_grad()
def quantiles(anchors: Tensor, negatives: Negatives, shares: Sequence[float]) -> Tensor:
    """Estimate quantiles (A, len(shares)) of an anchor's similarities to its candidates.

    This takes three passes over the keys, each with a histogram of 256 bins per anchor: first over [-1, 1], and then
    over the bin that holds the quantile. The result is exact up to rounding, wherever cosines crowd, and memory is
    A x 256 x len(shares) for any number of keys.

    Args:
        anchors: Anchors (A, D), unit-norm.
        negatives: Negatives, which hold the keys.
        shares: Shares, in [0, 1], at which quantiles are wanted; 0 is the least similar key.
    """
    wide = widened(anchors.detach())
    low, width = wide.new_full((len(wide), len(shares)), -1.0), 2.0
    below = torch.zeros_like(low)  # number of candidates below `low`
    wanted: Tensor | None = None
    for _ in range(_PASSES_OVER_KEYS):
        width /= _BINS_PER_PASS
        cumulated = _histogram(anchors, negatives, low, width).cumsum(dim=2).to(wide.dtype)  # (A, S, bins)
        if wanted is None:
            sought = torch.stack([wide.new_full((), share) for share in shares])  # no copy to a device
            wanted = (cumulated[..., -1] * sought).clamp(min=1e-6)
        rest = (wanted - below)[..., None]
        place = torch.searchsorted(cumulated, rest).clamp(max=_BINS_PER_PASS - 1)  # the first bin that reaches it
        before = torch.where(place > 0, cumulated.gather(2, (place - 1).clamp(min=0)), 0.0)
        inside = (rest - before) / (cumulated.gather(2, place) - before).clamp(min=1)
        below, low = below + before[..., 0], low + place[..., 0] * width
    return low + inside[..., 0].clamp(0, 1) * width


def _histogram(anchors: Tensor, negatives: Negatives, low: Tensor, width: float) -> Tensor:
    """Return the numbers (A, S, 256) of candidates in bins of one width that begin at `low` (A, S)."""
    histogram = torch.zeros(
        *low.shape, _BINS_PER_PASS + 1, dtype=torch.int64, device=low.device
    )  # the last holds all others
    one = histogram.new_ones(())
    for span, tiles in masked_tiles(anchors, negatives):
        for _, similarities in tiles:
            dropped = similarities == -torch.inf
            similarities = similarities.clamp(-1, _LARGEST_FLOAT32_BELOW_1)
            for share in range(low.shape[1]):
                bins = ((similarities - low[span, share, None]) / width).floor()
                outside = dropped | ~((bins >= 0) & (bins < _BINS_PER_PASS))  # so that NaN is outside, too
                bins = bins.masked_fill_(outside, _BINS_PER_PASS).long()
                histogram[span, share].scatter_add_(1, bins, one.expand_as(bins))
    return histogram[..., :_BINS_PER_PASS]


def masked_tiles(anchors: Tensor, negatives: Negatives) -> Iterator[tuple[slice, Iterator[tuple[Tile, Tensor]]]]:
    """Yield the tiles of each run of anchors (A, D), with similarities (a, k) that are -inf if a pair is left out.

    Nothing here has gradients.
    """
    size = edge(anchors.device)
    wide, keys = widened(anchors.detach()), widened(negatives.keys.detach())
    of_anchors, of_keys, within = negatives.numbered()

    def of(span: slice) -> Iterator[tuple[Tile, Tensor]]:
        rows = {name: row.detach()[span, None] for name, row in negatives.rows.items()}
        for place in spans(len(keys), size):
            tile = Tile(wide[span] @ keys[place].T, span, place, rows)
            dropped = left_out(of_anchors[span], of_keys[place], within)
            if negatives.log_weight is not None:
                dropped = dropped | (negatives.log_weight(tile) == -torch.inf)
            yield tile, tile.similarities.masked_fill(dropped, -torch.inf)

    for span in spans(len(anchors), size):
        yield span, of(span)


class RankRule:
    """A rank among an anchor's negatives, set directly or by the probability that the negative there is a false one.

    Args:
        rank: Rank, from 1, the nearest. Set either this or the next two.
        classes: Number of classes, or an estimate, at least 2.
        probability: Largest probability of a false negative at the rank, in (0, 1).
        name: Name of `rank` among the options, for messages.

    Raises:
        ValueError: Neither or both are set, or one is out of range.

    Examples:
        >>> keys, ids = torch.eye(8), torch.arange(8)
        >>> RankRule(rank=3, classes=None, probability=None).of(keys, Negatives(keys, ids, ids))
        3
    """

    def __init__(self, rank: int | None, classes: int | None, probability: float | None, name: str = "rank"):
        if (rank is None) == (classes is None or probability is None):
            raise ValueError(f"set either {name}, or classes and false_negative_probability")
        if rank is not None and rank < 1:
            raise ValueError(f"{name} must be at least 1, got {rank}")
        if classes is not None and classes < 2:
            raise ValueError(f"classes must be at least 2, got {classes}")
        if probability is not None and not 0 < probability < 1:
            raise ValueError(f"false_negative_probability must lie between 0 and 1, got {probability}")
        self._rank, self._classes, self._probability = rank, classes, probability

    def of(self, anchors: Tensor, negatives: Negatives) -> int:
        """Return the rank for anchors (A, D): from 1 to the number of negatives of the anchor with the fewest."""
        count = int(total_weight(anchors, negatives).min())
        if self._rank is not None:
            return max(1, min(self._rank, count))
        assert self._classes is not None
        assert self._probability is not None
        return rank_for(self._probability, self._classes, count, key_counts(negatives))
