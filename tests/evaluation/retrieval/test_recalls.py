import numpy as np
import pytest

from ssl_pipeline.evaluation.retrieval.recalls import Asked, chance_figures, median_rank, recall_figures
from ssl_pipeline.evaluation.statistics.proportions import effective_images, wilson


def ranked(seed: int, count: int = 400) -> np.ndarray:
    return np.random.default_rng(seed).geometric(0.2, count)


def test_recalls_are_shares_with_wilson_s_interval_of_groups():
    ranks, groups = ranked(0).repeat(2), np.arange(400).repeat(2)  # a group's two queries agree
    asked = Asked(groups, np.ones(800, np.int64), 50)
    found = recall_figures({"ours": ranks}, asked, 200, 0, over="ours")["ours"]
    for cut in (1, 5, 10):
        hits = (ranks <= cut).astype(np.float64)
        assert found[f"recall_at_{cut}"] == hits.mean()
        assert effective_images(hits, np.zeros(800, np.int64), groups) == pytest.approx(400)
        low, high = wilson(hits.mean(), 400)
        assert (found[f"recall_at_{cut}_low"], found[f"recall_at_{cut}_high"]) == pytest.approx((low, high))


def test_gains_over_the_others_are_paired():
    ours, groups = ranked(0), np.arange(400)
    asked = Asked(groups, np.ones(400, np.int64), 50)
    figures = recall_figures({"ours": ours, "same": ours, "worse": ours + 3}, asked, 500, 0, over="ours")
    assert "gain_at_1" not in figures["ours"]
    same, worse = figures["same"], figures["worse"]
    assert same["gain_at_5"] == 0
    assert same["gain_at_5_low"] < 0 < same["gain_at_5_high"]
    assert worse["gain_at_5"] == pytest.approx((ours <= 5).mean() - (ours <= 2).mean())
    assert 0 < worse["gain_at_5_low"] < worse["gain_at_5"] < worse["gain_at_5_high"]


def test_the_median_rank_has_the_interval_of_a_plain_bootstrap_of_groups():
    ranks, groups = ranked(1), np.arange(400) // 4
    asked = Asked(groups, np.ones(400, np.int64), 50)
    found = recall_figures({"ours": ranks}, asked, 4000, 0, over="ours")["ours"]
    drawn = np.random.default_rng(5).integers(0, 100, (4000, 100))
    medians = np.percentile(ranks.reshape(100, 4)[drawn].reshape(4000, 400), 50, axis=1, method="inverted_cdf")
    assert found["median_rank"] == np.percentile(ranks, 50, method="inverted_cdf")
    assert [found["median_rank_low"], found["median_rank_high"]] == pytest.approx(np.percentile(medians, [2.5, 97.5]))


def test_a_median_rank_counts_a_query_as_often_as_it_was_drawn():
    ranks = np.array([7, 1, 3])
    weights = np.array([[1, 1, 1], [2, 0, 1], [0, 3, 0], [1, 1, 0]], np.float64)
    assert median_rank(ranks, weights).tolist() == [3, 7, 1, 1]


@pytest.mark.parametrize("right", [[1] * 200, [2] * 200, [1, 2, 3, 7] * 50])
def test_chance_is_what_random_orders_reach(right):
    right, candidates = np.array(right), 30
    generator = np.random.default_rng(0)
    drawn = np.stack([generator.permuted(np.tile(np.arange(1, 31), (len(right), 1)), axis=1) for _ in range(100)])
    first = np.where(np.arange(candidates) < right[:, None], drawn, 99).min(axis=2)  # (100, q) ranks of the first right
    found = chance_figures(Asked(np.arange(len(right)), right, candidates))
    for cut in (1, 5, 10):
        assert found[f"recall_at_{cut}"] == pytest.approx((first <= cut).mean(), abs=0.01)
    assert found["median_rank"] == pytest.approx(np.percentile(first, 50, method="inverted_cdf"), abs=1)
