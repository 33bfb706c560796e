"""Weighted nearest neighbours on frozen features: nothing is learned, so nothing can be tuned in their favour.

Each of the k stored features with the largest cosine to a query votes for its class, with exp(cosine / temperature).

Images of one group are in one split (`ssl_pipeline.data.splits`), so that no query meets its own group in the bank.

Source: Wu et al. 2018 (1805.01978), section 3.4.
"""

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.features import unit

__all__ = ["predict"]

_QUERIES_PER_TILE = 256  # queries at a time: against 50,000 stored features their cosines are 51 MB


def predict(
    bank: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    queries: npt.NDArray[np.float32],
    k: int,
    temperature: float,
) -> npt.NDArray[np.int64]:
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
    bank, queries, k = unit(bank), unit(queries), min(k, len(bank))
    predicted = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), _QUERIES_PER_TILE):
        cosines = queries[start : start + _QUERIES_PER_TILE] @ bank.T
        nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        weights = np.exp((np.take_along_axis(cosines, nearest, axis=1).astype(np.float64) - 1) / temperature)
        votes = np.zeros((len(cosines), labels.max() + 1))
        np.add.at(votes, (np.arange(len(cosines))[:, None], labels[nearest]), weights)
        predicted[start : start + _QUERIES_PER_TILE] = votes.argmax(axis=1)
    return predicted
