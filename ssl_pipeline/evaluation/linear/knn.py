"""Weighted nearest neighbours on frozen features: nothing is learned, so nothing can be tuned in their favour.

Each of the k stored features with the largest cosine to a query votes for its class, with exp(cosine / temperature).

Images of one group are in one split (`ssl_pipeline.data.splits`), so that no query meets its own group in the bank.

Source: Wu et al. 2018 (1805.01978), section 3.4.
"""

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.features import unit

__all__ = ["predict"]

_QUERIES, _STORED = 256, 16_384  # features at a time: the cosines of a tile are 17 MB, however many there are in all

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


def predict(
    bank: Features,
    labels: Numbers,
    queries: Features,
    k: int,
    temperature: float,
) -> Numbers:
    """Return the class with most votes for each query; of classes with as many, the first.

    Args:
        bank: (n, D) features of any length, n >= 1.
        labels: (n,) their classes, from 0.
        queries: (m, D) features to classify.
        k: Neighbours; all of the bank if it holds fewer.
        temperature: Temperature of the votes. At small values the nearest neighbour alone decides.

    Returns:
        (m,) classes.
    """
    cosines, nearest = _nearest(bank, queries, min(k, len(bank)))
    predicted = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        weights = np.exp((cosines[part].astype(np.float64) - 1) / temperature)
        votes = np.zeros((len(weights), labels.max() + 1))
        np.add.at(votes, (np.arange(len(weights))[:, None], labels[nearest[part]]), weights)
        predicted[part] = votes.argmax(axis=1)
    return predicted


def _nearest(bank: Features, queries: Features, k: int) -> tuple[Features, Numbers]:
    """Return the k largest cosines (m, k) of each query, in any order, and the rows (m, k) of the bank they are to."""
    cosines, nearest = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
    for first in range(0, len(bank), _STORED):
        stored, known = unit(bank[first : first + _STORED]), min(first, k)
        for start in range(0, len(queries), _QUERIES):
            part = slice(start, start + _QUERIES)
            found, rows = _largest(unit(queries[part]) @ stored.T, np.arange(first, first + len(stored)), k)
            if known:
                found = np.concatenate([cosines[part, :known], found], axis=1)
                found, rows = _largest(found, np.concatenate([nearest[part, :known], rows], axis=1), k)
            cosines[part, : found.shape[1]], nearest[part, : found.shape[1]] = found, rows
    return cosines, nearest


def _largest(values: Features, numbers: Numbers, k: int) -> tuple[Features, Numbers]:
    """Return the k largest of each row (m, n), in any order, with their numbers, (n,) or (m, n); all if n <= k."""
    numbers = np.broadcast_to(numbers, values.shape)
    if values.shape[1] <= k:
        return values, numbers
    chosen = np.argpartition(-values, k - 1, axis=1)[:, :k]
    return np.take_along_axis(values, chosen, axis=1), np.take_along_axis(numbers, chosen, axis=1)
