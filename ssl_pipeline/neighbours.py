"""Nearest neighbours by cosine: exact, tile by tile, or among very many by a graph of neighbours.

The graph (HNSW, Malkov and Yashunin 2016, 1603.09320) is usearch's: it is small, under Apache-2.0, and has wheels for
all platforms. hnswlib is published as source alone, which a user would have to compile, and faiss-cpu is twenty times
as large.

This module imports no torch.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.progress import track

__all__ = ["EXACT_BELOW", "Neighbours", "check_finite", "nearest", "neighbours", "unit"]

EXACT_BELOW = 50_000
"""Rows from which on `neighbours` asks a graph: to compare all of them takes a minute on a core, and four for twice as
many."""
_QUERIES, _STORED = 256, 16_384  # features at a time: the cosines of a tile are 17 MB, however many there are in all
_CONNECTIVITY, _EXPANSION_ADD, _EXPANSION_SEARCH = 16, 128, 128
_ROWS_AT_A_TIME = 1_000  # between two signs of progress

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


class Neighbours(NamedTuple):
    """The neighbours of each row, the nearest first; of equally near ones, the one with the lower number.

    Attributes:
        ids: (n, k) numbers of rows, from 0.
        similarities: (n, k) cosines, from -1 to 1.
    """

    ids: Numbers
    similarities: Features


def neighbours(embeddings: Features, k: int) -> Neighbours:
    """Return the nearest neighbours of each row among the others.

    Below `EXACT_BELOW` rows they are exact. From there on a few may be missed; cosines are exact even then. The same
    rows in the same order have the same neighbours each time: the graph is built by one thread.

    Args:
        embeddings: (n, D) embeddings of any length; to a row of zeros, all others have a cosine of 0.
        k: Neighbours of a row, at least 1; n - 1 if that is less.

    Returns:
        Neighbours (n, min(k, n - 1)). No row is its own neighbour, but its exact copies are.

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
    return _without_itself(ids, similarities.clip(-1, 1))  # rounding leads beyond


def nearest(bank: Features, queries: Features, k: int, *, scaled: bool = False) -> tuple[Features, Numbers]:
    """Return the k largest cosines (m, k) of each query, in any order, and the rows (m, k) of the bank they are to.

    Args:
        bank: (n, D) features of any length.
        queries: (m, D) features of any length.
        k: Neighbours, from 1 to n.
        scaled: Whether `unit` has made the bank already, as where it is asked again and again.
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
    """Return features (n, D) scaled to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, np.finfo(np.float32).tiny))


def _check(embeddings: Features, k: int) -> None:
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be (n, D), got {embeddings.shape}")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    check_finite(embeddings)


def check_finite(embeddings: Features, name: str = "in row {:,}", first: int = 0) -> None:
    """Refuse embeddings (n, D) that have no neighbours.

    Args:
        embeddings: The embeddings.
        name: The words that say which embedding it is; {} stands for its number.
        first: The number of the first row, for the message.

    Raises:
        PipelineError: A row has a value that is not finite.
    """
    for start in range(0, len(embeddings), _STORED):
        finite = np.isfinite(embeddings[start : start + _STORED]).all(axis=1)
        if not finite.all():
            which = name.format(first + start + int(finite.argmin()))
            raise PipelineError(
                f"The embedding {which} has values that are not finite, so that it has no neighbours: embed the "
                "images again, with a backbone that was trained to the end."
            )


def _largest(values: Features, numbers: Numbers, k: int) -> tuple[Features, Numbers]:
    """Return the k largest of each row (m, n), in any order, with their numbers, (n,) or (m, n); all if n <= k."""
    numbers = np.broadcast_to(numbers, values.shape)
    if values.shape[1] <= k:
        return values, numbers
    chosen = np.argpartition(-values, k - 1, axis=1)[:, :k]
    return np.take_along_axis(values, chosen, axis=1), np.take_along_axis(numbers, chosen, axis=1)


def _by_graph(rows: Features, k: int) -> tuple[Features, Numbers]:
    """Return what `nearest` does of rows (n, D) of unit length among themselves; a few are missed."""
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
        # several threads would build another graph each time
        index.add(np.arange(start, start + len(some), dtype=np.uint64), some, threads=1)
    cosines, ids = np.empty((len(rows), k), np.float32), np.empty((len(rows), k), np.int64)
    for start in track(starts, "neighbours: asking the graph", total=len(starts)):
        some = rows[start : start + _ROWS_AT_A_TIME]
        matches = index.search(some, k)
        assert isinstance(matches, BatchMatches)
        numbers = matches.keys.astype(np.int64)
        lacking = np.asarray(matches.counts) < k
        if lacking.any():  # the graph has places that few ways lead out of
            numbers[lacking] = nearest(rows, some[lacking], k)[1]
        ids[start : start + len(some)] = numbers
        cosines[start : start + len(some)] = np.einsum("nd,nkd->nk", some, rows[numbers])
    return cosines, ids


def _without_itself(ids: Numbers, similarities: Features) -> Neighbours:
    """Return neighbours in their order, (n, k), of those found (n, k + 1): all but the row itself, or but the last."""
    itself = ids == np.arange(len(ids))[:, None]
    order = np.lexsort((ids, np.where(itself, np.inf, -similarities)))[:, :-1]
    return Neighbours(np.take_along_axis(ids, order, axis=1), np.take_along_axis(similarities, order, axis=1))
