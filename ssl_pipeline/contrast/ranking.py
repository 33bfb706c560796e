"""Which keys are nearest to an anchor, and thresholds on its similarities: no gradients, and bounded memory.

An anchor's candidates are the keys of other samples that the negatives' weights do not leave out.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ssl_pipeline.contrast.fold import edge, spans
from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.types import Negatives, Tile

__all__ = ["Nearest", "RankRule", "mean_of_ranks", "nearest", "quantiles", "rank_for", "rank_threshold"]

_BINS = 256  # of [-1, 1]: a quantile is off by less than 1/128, half of that on average


class Nearest(NamedTuple):
    """The keys nearest to each anchor, nearest first.

    Attributes:
        similarities: (A, k), -inf where an anchor has fewer candidates.
        keys: (A, k) int64 positions, 0 there.
    """

    similarities: Tensor
    keys: Tensor


@torch.no_grad()
def nearest(anchors: Tensor, negatives: Negatives, k: int) -> Nearest:
    """The k most similar candidates of each anchor (A, D); all keys where there are fewer than k."""
    k = min(k, len(negatives.keys))
    parts = []
    for span, tiles in _tiles(anchors, negatives):
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
    """A similarity (A,) that k candidates of an anchor exceed and the others do not; -inf where there are at most k.

    It lies half way between two ranks, so that rounding cannot move a key across it.
    """
    found = nearest(anchors, negatives, k + 1).similarities
    if found.shape[1] <= k:
        return found.new_full((len(anchors),), -torch.inf)
    return (found[:, k - 1] + found[:, k]) / 2 if k else found.new_full((len(anchors),), torch.inf)


def mean_of_ranks(anchors: Tensor, negatives: Negatives, first: int, last: int) -> Tensor:
    """The mean (A, D) of the keys that rank from `first` to `last` among an anchor's candidates, 1 being the nearest.

    As similarity is linear, an anchor's similarity to this mean is its mean similarity to those keys. Gradients reach
    the keys. Ranks beyond an anchor's last candidate are left out; without any the mean is 0.
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
    """Quantiles (A, len(shares)) of an anchor's similarities to its candidates.

    Estimated from a histogram of 256 bins over [-1, 1] for each anchor, with a straight line inside a bin: the error is
    below 1/128, and memory is A x 256 however many keys there are.

    Args:
        anchors: (A, D) unit-norm.
        negatives: Keys.
        shares: In [0, 1]; 0 is the least similar.
    """
    count = len(anchors)
    histogram = torch.zeros(count, _BINS, dtype=torch.int64, device=anchors.device)
    for span, tiles in _tiles(anchors, negatives):
        rows = torch.arange(span.stop - span.start, device=anchors.device)[:, None]
        for _, similarities in tiles:
            left_out = similarities == -torch.inf
            bins = ((similarities + 1) * (_BINS / 2)).floor().clamp(0, _BINS - 1).long()
            flat = (rows * _BINS + bins)[~left_out]
            histogram[span] += torch.bincount(flat, minlength=len(rows) * _BINS).view(-1, _BINS)
    cumulated = histogram.cumsum(dim=1).to(widened(anchors).dtype)
    wanted = (cumulated[:, -1:] * torch.tensor(shares, dtype=cumulated.dtype, device=anchors.device)).clamp(min=1e-6)
    above = torch.searchsorted(cumulated, wanted).clamp(max=_BINS - 1)  # the first bin that reaches it
    below = torch.where(above > 0, cumulated.gather(1, (above - 1).clamp(min=0)), 0.0)
    inside = (wanted - below) / (cumulated.gather(1, above) - below).clamp(min=1)
    return (above + inside.clamp(0, 1)) * (2 / _BINS) - 1


def _tiles(anchors: Tensor, negatives: Negatives) -> Iterator[tuple[slice, Iterator[tuple[Tile, Tensor]]]]:
    """For each run of anchors its tiles, with similarities (a, k) that are -inf where a pair is left out."""
    size = edge(anchors.device)
    wide, keys = widened(anchors.detach()), widened(negatives.keys.detach())

    def of(span: slice) -> Iterator[tuple[Tile, Tensor]]:
        rows = {name: row.detach()[span, None] for name, row in negatives.rows.items()}
        for place in spans(len(keys), size):
            tile = Tile(wide[span] @ keys[place].T, span, place, rows)
            left_out = negatives.anchor_samples[span, None] == negatives.key_samples[None, place]
            if negatives.log_weight is not None:
                left_out = left_out | (negatives.log_weight(tile) == -torch.inf)
            yield tile, tile.similarities.masked_fill(left_out, -torch.inf)

    for span in spans(len(anchors), size):
        yield span, of(span)


def rank_for(probability: float, classes: int, count: int) -> int:
    """The smallest rank k at which a negative is a false one with at most this probability.

    Each of `count` negatives is of the anchor's own class with probability 1 / classes, and these are taken to be the
    nearest: the k-th is one of them where there are at least k, whose number is binomial.

    Returns:
        In [1, count]; `count` where no rank attains the probability, 1 for no negatives.

    Source: Wang et al. 2021 (2104.08760), section 3.2.
    """
    from scipy.stats import binom  # takes a while to import

    rank = int(binom.isf(probability, count, 1 / classes)) + 1  # isf: the smallest x with P(X > x) <= probability
    return max(1, min(rank, count))


class RankRule:
    """A rank among an anchor's negatives, given outright or by how often the negative there may be a false one.

    Args:
        rank: From 1, the nearest; or give the other two.
        classes: How many classes there are, or a guess, at least 2.
        probability: In (0, 1).
        name: Of `rank` among the options, for messages.

    Raises:
        ValueError: Neither or both are given, or one is out of range.
    """

    def __init__(self, rank: int | None, classes: int | None, probability: float | None, name: str = "rank"):
        if (rank is None) == (classes is None or probability is None):
            raise ValueError(f"give either {name}, or classes and false_negative_probability")
        if rank is not None and rank < 1:
            raise ValueError(f"{name} must be at least 1, got {rank}")
        if classes is not None and classes < 2:
            raise ValueError(f"classes must be at least 2, got {classes}")
        if probability is not None and not 0 < probability < 1:
            raise ValueError(f"false_negative_probability must lie between 0 and 1, got {probability}")
        self._rank, self._classes, self._probability = rank, classes, probability

    def of(self, count: int) -> int:
        """The rank among that many negatives, in [1, count]; 1 for none."""
        if self._rank is not None:
            return max(1, min(self._rank, count))
        assert self._classes is not None
        assert self._probability is not None
        return rank_for(self._probability, self._classes, count)
