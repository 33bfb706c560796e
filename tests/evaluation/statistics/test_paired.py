"""Two classifiers on the same images: exact intervals and tests, held against plain counting."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import multinomial

from ssl_pipeline.evaluation.statistics.paired import difference, flip_test


def test_the_interval_of_a_difference_covers_whatever_tells_the_two_apart():
    """The coverage is summed over all outcomes of 15 images."""
    images, bounds = 15, {}
    for first in range(images + 1):
        for second in range(min(first, images - first) + 1):
            low, high = difference(first / images, second / images, images)
            bounds |= {(first, second): (low, high), (second, first): (-high, -low)}
    outcomes = np.array([(*outcome, images - sum(outcome)) for outcome in bounds])
    lows, highs = np.array(list(bounds.values())).T
    observed = (outcomes[:, 0] - outcomes[:, 1]) / images
    assert ((lows <= observed + 1e-6) & (observed - 1e-6 <= highs)).all()
    for apart, better in itertools.product([0.02, 0.1, 0.3, 0.7, 1.0], [0.5, 0.7, 1.0]):
        chances = multinomial.pmf(outcomes, images, [apart * better, apart * (1 - better), 1 - apart])
        truth = apart * (2 * better - 1)
        assert chances[(lows <= truth + 1e-6) & (truth - 1e-6 <= highs)].sum() >= 0.95


def test_an_interval_has_a_width_though_nothing_tells_the_two_apart():
    low, high = difference(0.0, 0.0, 50)
    assert low == pytest.approx(-high)
    assert 0.07 < high < 0.1
    assert difference(0.0, 0.0, 20_000)[1] < 5e-4


def test_the_interval_is_the_same_the_other_way_round_and_narrows_with_images():
    low, high = difference(0.10, 0.02, 50)
    assert difference(0.02, 0.10, 50) == pytest.approx((-high, -low))
    assert difference(0.10, 0.02, 50.9) == (low, high)
    narrow = difference(0.10, 0.02, 150)
    assert low < narrow[0] < 0.08 < narrow[1] < high
    assert narrow[0] > 0


@pytest.mark.parametrize(("first", "second"), [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
@pytest.mark.parametrize("images", [1, 1.7, 5])
def test_few_images_and_extremes(first, second, images):
    low, high = difference(first, second, images)
    assert -1 <= low <= first - second <= high <= 1


@pytest.mark.parametrize(("first", "second"), [(9, 1), (1, 9), (6, 0), (5, 5), (12, 11), (40, 20)])
def test_the_flip_test_of_images_counts_the_coin_throws_that_are_as_uneven_or_more(first, second):
    thrown, most = first + second, max(first, second)
    tail = sum(math.comb(thrown, heads) for heads in range(most, thrown + 1)) / 2**thrown
    alone = np.repeat([True, False], [first, second])
    both, neither = np.ones(30, bool), np.zeros(20, bool)  # irrelevant to the difference
    answers = [np.concatenate([one, both, neither]) for one in (alone, ~alone)]
    assert flip_test(*answers, np.arange(thrown + 50)) == pytest.approx(min(1.0, 2 * tail))


def test_the_flip_test_of_groups_is_that_of_all_ways_in_which_they_may_come_out():
    generator = np.random.default_rng(0)
    first, second, groups = generator.random(60) < 0.8, generator.random(60) < 0.6, generator.integers(0, 9, 60)
    of_groups = np.array([first[groups == name].sum() - second[groups == name].sum() for name in range(9)])
    sums = np.array(list(itertools.product([-1, 1], repeat=9))) @ of_groups
    expected = (np.abs(sums) >= abs(of_groups.sum())).mean()
    assert 0.01 < expected < 0.9
    assert flip_test(first, second, groups) == pytest.approx(expected)


def test_the_flip_test_of_equals_is_certain_of_nothing():
    assert flip_test(np.ones(5, bool), np.ones(5, bool), np.arange(5)) == 1.0


def test_equals_that_differ_by_whole_tracks_are_seldom_told_apart():
    """With single frames as units, equals would be called different almost half of the time."""
    generator, told = np.random.default_rng(0), np.zeros(2)
    for _ in range(300):
        first, second = np.repeat(generator.random((2, 15)) < 0.7, 20, axis=1)
        for number, groups in enumerate((np.repeat(np.arange(15), 20), np.arange(300))):
            told[number] += flip_test(first, second, groups) < 0.05
    assert told[0] <= 0.06 * 300
    assert told[1] > 0.4 * 300
