"""Recall at 1, 5 and 10 and the median rank of retrieval, with 95% intervals over groups, and the levels of chance."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.retrieval.ranks import chance_within
from ssl_pipeline.evaluation.retrieval.sentences import CUTS
from ssl_pipeline.evaluation.statistics.intervals import drawn_groups, score
from ssl_pipeline.evaluation.statistics.proportions import LEVEL

__all__ = ["Asked", "chance_figures", "median_rank", "recall_figures"]

Numbers = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


class Asked(NamedTuple):
    """The queries, which are the same for all contestants.

    Attributes:
        groups: Group numbers (q,), equal for queries of one group; intervals resample groups, not queries.
        right: Number of correct candidates of each query (q,).
        candidates: Number of candidates.
    """

    groups: Numbers
    right: Numbers
    candidates: int


def recall_figures(
    ranks: Mapping[str, Numbers], asked: Asked, resampled: int, seed: int, over: str
) -> dict[str, dict[str, float]]:
    """Return the retrieval figures of several contestants on the same queries.

    Args:
        ranks: Contestant -> ranks of the first correct candidate (q,), from 1; q >= 1.
        asked: Queries, which are the same for all contestants.
        resampled: Number of resamples of the groups, for the intervals of gains and of the median rank.
        seed: Seed of the resamples.
        over: Contestant whose gain over each of the others is reported with the other.

    Returns:
        Contestant -> `recall_at_1`, `recall_at_1_low`, `recall_at_1_high`, ..., `median_rank`, ..., and for all except
        `over` also `gain_at_1`, `gain_at_1_low`, .... Intervals of recalls are Wilson's, for the number of independent
        queries that would leave the share as uncertain; intervals of gains are paired. The median rank is the smallest
        rank within which half of the queries have a correct candidate.
    """
    found: dict[str, dict[str, float]] = {name: {} for name in ranks}
    for cut in CUTS:
        hits = {name: (values > cut).astype(np.int64) for name, values in ranks.items()}  # 0: correct
        scores = score(np.zeros(len(asked.groups), np.int64), hits, asked.groups, resampled, seed)
        for name in ranks:
            found[name] |= _flat(f"recall_at_{cut}", *scores.interval(name, "accuracy"))
            if name != over:
                found[name] |= _flat(f"gain_at_{cut}", *scores.gain(over, name, "accuracy"))
    for name, values in ranks.items():
        found[name] |= _flat("median_rank", *_median_interval(values, asked.groups, resampled, seed))
    return found


def chance_figures(asked: Asked) -> dict[str, float]:
    """Return the figures of a random order of the candidates: `recall_at_1`, ..., `median_rank`."""
    recalls = {f"recall_at_{cut}": float(chance_within(cut, asked.right, asked.candidates).mean()) for cut in CUTS}
    kinds, numbers = np.unique(asked.right, return_counts=True)
    low, high = 1, asked.candidates  # bisection, because the share of answered queries grows with the rank
    while low < high:
        middle = (low + high) // 2
        enough = np.average(chance_within(middle, kinds, asked.candidates), weights=numbers) >= 0.5 - 1e-9
        low, high = (low, middle) if enough else (middle + 1, high)
    return {**recalls, "median_rank": float(low)}


def median_rank(ranks: Numbers, weights: Float64 | None = None) -> Float64:
    """Return the smallest rank within which half of the queries have a correct candidate.

    Args:
        ranks: Ranks of the first correct candidates (q,).
        weights: Number of times that each query occurs in each of b resamples, (b, q); None for one resample with each
            query once.

    Returns:
        Median rank of each resample (b,), float64.
    """
    order = np.argsort(ranks, kind="stable")
    counts = np.ones((1, len(ranks))) if weights is None else weights[:, order]
    sums = counts.cumsum(axis=1)
    places = (sums < sums[:, -1:] / 2 - 1e-9).sum(axis=1)
    return np.asarray(ranks[order][places], np.float64)


def _median_interval(ranks: Numbers, groups: Numbers, resampled: int, seed: int) -> tuple[float, float, float]:
    """Return the median rank, and the bounds of its interval by percentiles over resamples of groups (Efron 1979)."""
    names, numbers = np.unique(groups, return_inverse=True)
    generator = np.random.default_rng(seed)
    draws = [median_rank(ranks, counts[:, numbers]) for counts in drawn_groups(len(names), resampled, generator)]
    low, high = np.percentile(np.concatenate(draws), [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return float(median_rank(ranks)[0]), float(low), float(high)


def _flat(name: str, value: float, low: float, high: float) -> dict[str, Any]:
    return {name: value, f"{name}_low": low, f"{name}_high": high}
