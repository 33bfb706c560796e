"""Held-out images: neighbours and their drift by brute force, and falls that cannot be chance."""

import math

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from ssl_pipeline.health.held_out import NEIGHBOURS, drift, fallen, nearest, sight


def digits(count: int = 120) -> np.ndarray:
    return load_digits().data[:count]


def views(noise: float, seed: int = 0, count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return two views of each image, which differ by noise."""
    rng, images = np.random.default_rng(seed), np.random.default_rng(9).standard_normal((count, 16))
    return tuple(images + noise * rng.standard_normal(images.shape) for _ in range(2))


def test_neighbours_are_those_of_a_library():
    z = digits()
    found = NearestNeighbors(n_neighbors=6, metric="cosine").fit(z).kneighbors(return_distance=False)
    assert (nearest(3 * z, 6) == found).all()
    assert nearest(z[:4], 10).shape == (4, 3)
    assert nearest(np.ones((4, 2)), 2).tolist() == [[1, 2], [0, 2], [0, 1], [0, 1]]


def test_drift_is_the_share_of_neighbours_that_are_others():
    z = digits()
    then, now = nearest(z, 5), nearest(z * np.linspace(0, 1, z.shape[1]), 5)
    by_hand = np.mean([len(set(before) - set(after)) / 5 for before, after in zip(then, now, strict=True)])
    assert 0.1 < by_hand < 0.9
    assert drift(then, now) == pytest.approx(by_hand)
    assert drift(then, then[:, ::-1]) == 0
    others = nearest(np.random.default_rng(0).standard_normal((400, 8)), NEIGHBOURS)
    unrelated = nearest(np.random.default_rng(1).standard_normal((400, 8)), NEIGHBOURS)
    assert drift(others, unrelated) == pytest.approx(1 - NEIGHBOURS / 399, abs=0.02)


def test_what_was_at_the_start_is_no_fall_and_what_is_lost_is_one():
    start = sight(*views(0.5))
    assert fallen(start, start) == []
    assert start.figures(start) == {
        "held_out_recall": start.found.mean(),
        "held_out_effective_rank": start.rank,
        "neighbour_drift": 0.0,
    }
    better, worse = sight(*views(0.1)), sight(*views(1.0))
    assert start.found.mean() > worse.found.mean() + 0.1
    assert fallen(start, better) == []
    (finding,) = fallen(start, worse)
    assert finding.kind == "below its start"
    assert not finding.fatal
    assert f"{worse.found.mean():.1%} of the views" in finding.message
    assert "pretrain.freeze_epochs" in finding.message
    constant = sight(np.ones((300, 4)), np.ones((300, 4)))
    assert "0.0% of the views" in fallen(start, constant)[0].message


def test_what_could_be_chance_is_not_told():
    start = sight(*views(0.6))
    told = [fallen(start, sight(*views(0.6, seed))) for seed in range(1, 60)]
    assert any(sight(*views(0.6, seed)).found.mean() < start.found.mean() for seed in range(1, 60))
    assert sum(map(len, told)) == 0


def test_embeddings_that_are_no_numbers_are_shown_and_end_nothing():
    first, second = views(0.5)
    broken = sight(first * np.nan, second)
    figures = broken.figures(sight(first, second))
    assert math.isnan(figures["held_out_recall"])
    assert math.isnan(figures["held_out_effective_rank"])
    assert fallen(sight(first, second), broken) == []
