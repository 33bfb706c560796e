"""Nearest neighbours: exact search, search by graph, and refused input."""

import numpy as np
import pytest

from ssl_pipeline import neighbours as module
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.neighbours import nearest, neighbours, unit


def clustered(count, dim=16, seed=0):
    """Return rows of different lengths around 20 centres, distributed as embeddings are."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(20, dim))
    rows = centres[random.integers(20, size=count)] + 0.3 * random.normal(size=(count, dim))
    return (rows * random.uniform(0.1, 10, size=(count, 1))).astype(np.float32)


def by_hand(embeddings, k):
    """Return the k nearest rows by all cosines in float64."""
    rows = embeddings.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    ids = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return ids, np.take_along_axis(cosines, ids, axis=1)


def test_neighbours_are_those_of_all_cosines(monkeypatch):
    monkeypatch.setattr(module, "_STORED", 130)  # the number of rows is not a multiple of the tile's
    monkeypatch.setattr(module, "_QUERIES", 70)
    embeddings = clustered(500)
    found, (ids, cosines) = neighbours(embeddings, 7), by_hand(embeddings, 7)
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_allclose(found.similarities, cosines, atol=1e-6)
    assert found.ids.dtype == np.int64
    assert found.similarities.dtype == np.float32


def test_no_row_is_its_own_neighbour_though_it_has_many_copies():
    embeddings = np.repeat(clustered(3), [40, 1, 1], axis=0)
    found = neighbours(embeddings, 5)
    assert not (found.ids == np.arange(42)[:, None]).any()
    assert (found.ids[:40] < 40).all()
    np.testing.assert_allclose(found.similarities[:40], 1, atol=1e-6)


@pytest.mark.parametrize(("count", "width"), [(0, 0), (1, 0), (2, 1), (4, 3)])
def test_few_rows_have_as_many_neighbours_as_there_are_others(count, width):
    found = neighbours(clustered(count), 5)
    assert found.ids.shape == found.similarities.shape == (count, width)
    assert all(sorted([*row, number]) == list(range(count)) for number, row in enumerate(found.ids) if width)


def test_a_graph_finds_nearly_all_with_exact_cosines_and_the_same_ones_each_time(monkeypatch):
    embeddings = clustered(3000)
    exact = neighbours(embeddings, 10)
    monkeypatch.setattr(module, "EXACT_BELOW", 3000)
    first, second = neighbours(embeddings, 10), neighbours(embeddings, 10)
    recall = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(first.ids, exact.ids, strict=True)])
    assert 0.98 <= recall <= 1
    np.testing.assert_array_equal(first.ids, second.ids)
    np.testing.assert_array_equal(first.similarities, second.similarities)
    rows = unit(embeddings)
    np.testing.assert_allclose(first.similarities, np.einsum("nd,nkd->nk", rows, rows[first.ids]), atol=1e-6)
    assert (np.diff(first.similarities, axis=1) <= 0).all()
    assert not (first.ids == np.arange(3000)[:, None]).any()


def test_rows_that_a_graph_does_not_reach_are_compared_with_all(monkeypatch):
    embeddings = np.repeat(clustered(40), 50, axis=0)
    exact = neighbours(embeddings, 99)
    monkeypatch.setattr(module, "EXACT_BELOW", 0)
    monkeypatch.setattr(module, "_CONNECTIVITY", 2)  # copies with few links between them leave the graph disconnected
    found = neighbours(embeddings, 99)
    rows = unit(embeddings)
    np.testing.assert_allclose(found.similarities, np.einsum("nd,nkd->nk", rows, rows[found.ids]), atol=1e-6)
    assert all(len(set(row)) == 99 for row in found.ids)
    as_near = np.isclose(found.similarities, exact.similarities, atol=1e-6).all(axis=1)
    assert as_near.sum() >= 250  # at least the rows for which the graph found too few neighbours


def test_queries_are_compared_with_a_bank():
    bank, queries = clustered(50), clustered(4, seed=1)
    cosines, rows = nearest(bank, queries, 3)
    expected = np.sort(unit(queries) @ unit(bank).T, axis=1)[:, -3:]
    np.testing.assert_allclose(np.sort(cosines, axis=1), expected, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(unit(queries) @ unit(bank).T, rows, axis=1), cosines, atol=1e-6)


def test_a_row_of_zeros_is_as_near_to_all():
    embeddings = clustered(5)
    embeddings[2] = 0
    found = neighbours(embeddings, 4)
    assert found.ids[2].tolist() == [0, 1, 3, 4]
    assert found.similarities[2].tolist() == [0, 0, 0, 0]


def test_what_is_not_finite_is_named():
    embeddings = clustered(10)
    embeddings[7, 3] = np.nan
    with pytest.raises(PipelineError, match="row 7 has values that are not finite"):
        neighbours(embeddings, 2)


def test_what_a_program_gives_wrongly_is_refused():
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        neighbours(clustered(5), 0)
    with pytest.raises(ValueError, match=r"\(n, D\), got \(5,\)"):
        neighbours(np.zeros(5, np.float32), 1)
