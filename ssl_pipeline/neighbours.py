"""Nearest neighbours by cosine: exact and tile by tile, or, for very many rows, by a neighbour graph.

The graph (HNSW, Malkov and Yashunin 2016, 1603.09320) comes from usearch, which is small, licensed under Apache-2.0,
and has wheels for all platforms. hnswlib is published as source only, which users would have to compile, and faiss-cpu
is twenty times as large.

This module does not import torch.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.progress import track

__all__ = ["EXACT_BELOW", "Neighbours", "check_finite", "nearest", "neighbours", "unit"]

EXACT_BELOW = 50_000
"""Number of rows from which `neighbours` uses a graph. Comparing so many rows exactly takes a minute on one core, and
twice as many take four."""
_QUERIES, _STORED = 256, 16_384  # features per tile, whose cosines take 17 MB, however many there are in total
_CONNECTIVITY, _EXPANSION_ADD, _EXPANSION_SEARCH = 16, 128, 128
_ROWS_AT_A_TIME = 1_000  # between two updates of the progress bar

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


class Neighbours(NamedTuple):
    """Neighbours of each row, the nearest first; ties go to the lower row number.

    Attributes:
        ids: Row numbers of the neighbours, (n, k), from 0.
        similarities: Cosines (n, k), from -1 to 1.
    """

    ids: Numbers
    similarities: Features


def neighbours(embeddings: Features, k: int) -> Neighbours:
    """Return the nearest neighbours of each row among the other rows.

    The neighbours are exact below `EXACT_BELOW` rows. From there on, a few may be missed, but cosines are still exact.
    The same rows in the same order always have the same neighbours, because a single thread builds the graph.

    Args:
        embeddings: Embeddings (n, D) of any norm; the cosine of a row of zeros with any other row is 0.
        k: Number of neighbours per row, at least 1; capped at n - 1.

    Returns:
        Neighbours (n, min(k, n - 1)). A row is never its own neighbour, but its exact copies may be.

    Raises:
        PipelineError: A row has a value that is not finite.
        ValueError: k is less than 1, or `embeddings` has another shape.
    """
    _check(embeddings, k)
    count, k = len(embeddings), min(k, max(len(embeddings) - 1, 0))
    if k == 0:
        return Neighbours(np.empty((count, 0), np.int64), np.empty((count, 0), np.float32))
    if count < EXACT_BELOW:
        similarities, ids = nearest(embeddings, embeddings, k + 1)
    else:
        similarities, ids = _by_graph(unit(embeddings), k + 1)
    return _without_itself(ids, similarities.clip(-1, 1))  # rounding may exceed 1


def nearest(bank: Features, queries: Features, k: int, *, scaled: bool = False) -> tuple[Features, Numbers]:
    """Return the k largest cosines (m, k) of each query with the bank, in any order, and their rows (m, k) of the bank.

    Args:
        bank: Features (n, D) of any norm.
        queries: Features (m, D) of any norm.
        k: Number of neighbours, from 1 to n.
        scaled: Whether the bank has already been scaled by `unit`, which saves time if it is searched repeatedly.
    """
    cosines, rows = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    for first in range(0, len(bank), _STORED):
        stored, known = bank[first : first + _STORED], min(first, k)
        stored = stored if scaled else unit(stored)
        for start in range(0, len(queries), _QUERIES):
            part = slice(start, start + _QUERIES)
            found, numbers = _largest(unit(queries[part]) @ stored.T, np.arange(first, first + len(stored)), k)
            if known:
                found = np.concatenate([cosines[part, :known], found], axis=1)
                found, numbers = _largest(found, np.concatenate([rows[part, :known], numbers], axis=1), k)
            cosines[part, : found.shape[1]], rows[part, : found.shape[1]] = found, numbers
    return cosines, rows


def unit(features: Features) -> Features:
    """Return features (n, D) scaled to unit norm; a row of zeros is unchanged."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, np.finfo(np.float32).tiny))


def _check(embeddings: Features, k: int) -> None:
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be (n, D), got {embeddings.shape}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    check_finite(embeddings)


def check_finite(embeddings: Features, name: str = "in row {:,}", first: int = 0) -> None:
    """Refuse embeddings that are not finite, as they have no neighbours.

    Args:
        embeddings: Embeddings (n, D).
        name: Phrase that names the embedding in the message; {} is replaced by its number.
        first: Number of the first row, for the message.

    Raises:
        PipelineError: A row has a value that is not finite.
    """
    for start in range(0, len(embeddings), _STORED):
        finite = np.isfinite(embeddings[start : start + _STORED]).all(axis=1)
        if not finite.all():
            which = name.format(first + start + int(finite.argmin()))
            raise PipelineError(
                f"The embedding {which} has values that are not finite, so it has no neighbours. Embed the images "
                "again, with a backbone that was trained to the end."
            )


def _largest(values: Features, numbers: Numbers, k: int) -> tuple[Features, Numbers]:
    """Return the k largest values of each row (m, n), in any order, and their numbers; all values if n <= k.

    `numbers` has the shape (n,) or (m, n).
    """
    numbers = np.broadcast_to(numbers, values.shape)
    if values.shape[1] <= k:
        return values, numbers
    chosen = np.argpartition(-values, k - 1, axis=1)[:, :k]
    return np.take_along_axis(values, chosen, axis=1), np.take_along_axis(numbers, chosen, axis=1)


def _by_graph(rows: Features, k: int) -> tuple[Features, Numbers]:
    """Return the result of `nearest` for rows (n, D) of unit norm among themselves; a few neighbours may be missed."""
    from usearch.index import BatchMatches, Index

    index = Index(
        ndim=rows.shape[1],
        metric="ip",
        dtype="f32",
        connectivity=_CONNECTIVITY,
        expansion_add=_EXPANSION_ADD,
        expansion_search=max(_EXPANSION_SEARCH, k),
    )
    starts = range(0, len(rows), _ROWS_AT_A_TIME)
    for start in track(starts, "neighbours: building the graph", total=len(starts)):
        some = rows[start : start + _ROWS_AT_A_TIME]
        # several threads would build a different graph each time
        index.add(np.arange(start, start + len(some), dtype=np.uint64), some, threads=1)
    cosines, ids = np.empty((len(rows), k), np.float32), np.empty((len(rows), k), np.int64)
    for start in track(starts, "neighbours: asking the graph", total=len(starts)):
        some = rows[start : start + _ROWS_AT_A_TIME]
        matches = index.search(some, k)
        assert isinstance(matches, BatchMatches)
        numbers = matches.keys.astype(np.int64)
        lacking = np.asarray(matches.counts) < k
        if lacking.any():  # the search got stuck in a part of the graph with few links
            numbers[lacking] = nearest(rows, some[lacking], k)[1]
        ids[start : start + len(some)] = numbers
        cosines[start : start + len(some)] = np.einsum("nd,nkd->nk", some, rows[numbers])
    return cosines, ids


def _without_itself(ids: Numbers, similarities: Features) -> Neighbours:
    """Sort the neighbours found (n, k + 1), and drop the row itself, or the last one if the row is not among them."""
    itself = ids == np.arange(len(ids))[:, None]
    order = np.lexsort((ids, np.where(itself, np.inf, -similarities)))[:, :-1]
    return Neighbours(np.take_along_axis(ids, order, axis=1), np.take_along_axis(similarities, order, axis=1))
