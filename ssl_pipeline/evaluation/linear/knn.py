"""Weighted nearest neighbours on frozen features: nothing is learned, so nothing can be tuned in their favour.

Each of the k stored features with the largest cosine to a query votes for its class, with the weight
exp(cosine / temperature).

Images of one group are in one split (`ssl_pipeline.data.splits`), so that the bank contains no image of a query's
group.

Source: Wu et al. 2018 (1805.01978), section 3.4.
"""

import numpy as np
import numpy.typing as npt

from ssl_pipeline.neighbours import nearest

__all__ = ["predict"]

_QUERIES = 256  # queries at a time

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


def predict(
    bank: Features,
    labels: Numbers,
    queries: Features,
    k: int,
    temperature: float,
) -> Numbers:
    """Return the class with the most votes for each query; ties go to the first class.

    Args:
        bank: Features (n, D) of any length; n >= 1.
        labels: Class numbers of the bank (n,), from 0.
        queries: Features to classify (m, D).
        k: Number of neighbours; if the bank has fewer features, all of them vote.
        temperature: Temperature of the votes, greater than 0; at small values, the nearest neighbour alone decides.

    Returns:
        Class numbers (m,).
    """
    cosines, rows = nearest(bank, queries, min(k, len(bank)))
    predicted = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), _QUERIES):
        part = slice(start, start + _QUERIES)
        weights = np.exp((cosines[part].astype(np.float64) - 1) / temperature)
        votes = np.zeros((len(weights), labels.max() + 1))
        np.add.at(votes, (np.arange(len(weights))[:, None], labels[rows[part]]), weights)
        predicted[part] = votes.argmax(axis=1)
    return predicted
