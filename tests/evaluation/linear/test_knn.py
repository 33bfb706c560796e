import math
from collections import defaultdict

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ssl_pipeline import neighbours
from ssl_pipeline.evaluation.linear import knn

X, Y = load_digits(return_X_y=True)
X = X.astype(np.float32)


def by_hand(bank, labels, query, k, temperature):
    """Apply the paper's rule to one query, in float64."""
    bank, query = bank.astype(np.float64), query.astype(np.float64)
    cosines = [row @ query / math.sqrt(row @ row) / math.sqrt(query @ query) for row in bank]
    votes: dict[int, float] = defaultdict(float)
    for index in sorted(range(len(bank)), key=lambda i: -cosines[i])[:k]:
        votes[labels[index]] += math.exp(cosines[index] / temperature)
    return max(votes, key=lambda label: votes[label])


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.07), (20, 10.0), (200, 0.02)])
def test_every_query_as_by_hand(k, temperature):
    queries = X[1000:1300]  # more than one tile
    predicted = knn.predict(X[:300], Y[:300], queries, k, temperature)
    assert predicted.tolist() == [by_hand(X[:300], Y[:300], query, k, temperature) for query in queries]


@pytest.mark.parametrize("k", [1, 20, 130, 299])
def test_however_many_are_compared_at_a_time_the_classes_are_the_same(monkeypatch, k):
    whole = knn.predict(X[:300], Y[:300], X[300:400], k, 0.07)
    monkeypatch.setattr(neighbours, "_STORED", 64)
    for module in (neighbours, knn):
        monkeypatch.setattr(module, "_QUERIES", 32)
    assert np.array_equal(knn.predict(X[:300], Y[:300], X[300:400], k, 0.07), whole)


def test_the_temperature_decides_whether_near_or_many_win():
    bank = np.array([[1.0, 0.0], [0.9, 0.4], [0.9, -0.4]], np.float32)
    query = np.array([[5.0, 0.0]], np.float32)
    assert knn.predict(bank, np.array([0, 1, 1]), query, 3, 0.01) == [0]
    assert knn.predict(bank, np.array([0, 1, 1]), query, 3, 10.0) == [1]


def test_lengths_do_not_matter_and_a_dead_feature_is_no_harm():
    scaled = X[:300] * np.arange(1, 301, dtype=np.float32)[:, None]
    dead = np.concatenate([scaled, np.zeros((1, 64), np.float32)])
    expected = knn.predict(X[:300], Y[:300], X[300:400], 20, 0.07)
    assert np.array_equal(knn.predict(dead, np.append(Y[:300], 3), X[300:400] * 7, 20, 0.07), expected)


def test_more_neighbours_than_there_are():
    few = knn.predict(X[:5], Y[:5], X[100:120], 5, 0.07)
    assert np.array_equal(knn.predict(X[:5], Y[:5], X[100:120], 20, 0.07), few)
    assert knn.predict(X[:5], Y[:5], X[:0], 20, 0.07).shape == (0,)


def test_of_classes_with_as_many_votes_the_first():
    bank = np.array([[1.0, 0.0], [1.0, 0.0]], np.float32)
    assert knn.predict(bank, np.array([7, 2]), bank[:1], 2, 0.07) == [2]
