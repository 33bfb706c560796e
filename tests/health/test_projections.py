"""How far projections spread, against plain formulas, and what is reported of it."""

import numpy as np
import pytest
import torch

from ssl_pipeline.health.projections import outweighed, spread_figures, spread_troubles


def by_eigenvalues(projections):
    """Compute both figures in float64 from the eigenvalues of numpy's covariance."""
    unit = projections / np.linalg.norm(projections, axis=1, keepdims=True)
    values = np.linalg.eigvalsh(np.cov(unit.T, bias=True))
    return unit.std(axis=0).mean() * np.sqrt(unit.shape[1]), values.sum() ** 2 / np.square(values).sum()


@pytest.mark.parametrize("shift", [0.0, 3.0])
@pytest.mark.parametrize(("count", "dim"), [(200, 12), (20, 64)])
def test_both_figures_are_those_of_the_covariance(count, dim, shift):
    projections = np.random.default_rng(0).normal(shift, np.linspace(0.1, 2, dim), (count, dim))
    figures = spread_figures(torch.from_numpy(projections))
    expected = by_eigenvalues(projections)
    assert [figures[name].item() for name in ("projection_std", "projection_rank")] == pytest.approx(expected)


def test_a_large_batch_costs_no_more_and_a_tiny_one_says_nothing():
    torch.manual_seed(0)
    many = torch.randn(1000, 8)
    assert spread_figures(many) == spread_figures(many[:256])
    assert spread_figures(many[:16])
    assert spread_figures(many[:15]) == {}
    assert spread_troubles({}, 0.9, "Do.") == []


def test_what_is_all_the_same_has_no_spread_and_no_rank():
    figures = spread_figures(torch.ones(32, 16, dtype=torch.bfloat16))
    assert {name: value.item() for name, value in figures.items()} == {"projection_std": 0.0, "projection_rank": 0.0}


@pytest.mark.parametrize(
    ("std", "rank", "words"),
    [(0.39, 9.0, "complete collapse"), (0.41, 1.1, "dimensional collapse"), (0.41, 1.4, None), (0.0, 0.0, "complete")],
)
def test_narrow_projections_are_named(std, rank, words):
    found = spread_troubles({"projection_std": std, "projection_rank": rank}, 0.4, "Do this.")
    assert len(found) == (words is not None)
    for finding in found:
        assert finding.fatal
        assert finding.kind.startswith(words)
        assert finding.message.startswith(f"{finding.kind}: ")
        assert finding.message.endswith("Do this.")


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ({"projection_std": 0.34, "projection_rank": 20.0}, "complete collapse"),
        ({"projection_std": 0.36, "projection_rank": 9.0}, "dimensional collapse"),
        ({"projection_std": 0.36, "projection_rank": 10.0}, None),
        ({}, None),
    ],
)
def test_a_narrow_spread_is_a_collapse_where_nothing_is_at_work_against_it(figures, words):
    assert outweighed(figures, 0.11, -10.0, 64, "Do this.") == []
    found = outweighed(figures, 0.09, -10.0, 64, "Do this.")
    assert [finding.kind for finding in found] == [words] * (words is not None)
    assert all(finding.fatal and finding.message.endswith("Do this.") for finding in found)


def test_projections_without_room_for_many_directions_are_not_narrow():
    figures = {"projection_std": 1.0, "projection_rank": 7.5}
    assert outweighed(figures, 0.0, 1.0, 8, "Do this.") == []
    assert outweighed({**figures, "projection_rank": 3.1}, 0.0, 1.0, 8, "Do this.")
    assert outweighed(figures, 0.0, 0.0, 64, "Do this.") == []  # a loss of 0 is reported separately
