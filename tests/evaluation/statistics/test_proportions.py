"""Intervals of shares keep their promise near 1 and for images in groups, unlike the usual intervals."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from ssl_pipeline.evaluation.statistics.proportions import above_chance, effective_images, wilson

ONE = np.zeros(1000, np.int64)


@pytest.mark.parametrize(("right", "images"), [(0, 1), (1, 1), (7, 10), (445, 451), (50, 50), (0, 30)])
def test_wilsons_interval_is_scipys(right, images):
    theirs = binomtest(right, images).proportion_ci(method="wilson")
    assert wilson(right / images, images) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize(("images", "bootstrap"), [(451, 0.93), (50, 0.49)])
def test_it_covers_an_accuracy_of_987_in_1000_where_a_percentile_bootstrap_does_not(images, bootstrap):
    """Both coverages are summed over all outcomes: the number of right images in a resample is binomial."""
    right = np.arange(images + 1)
    chances = binom.pmf(right, images, 0.987)
    ours = np.array([wilson(count / images, images) for count in right])
    theirs = np.stack([binom.ppf(level, images, right / images) / images for level in (0.025, 0.975)], axis=1)
    covers = [chances[(bounds[:, 0] <= 0.987) & (bounds[:, 1] >= 0.987)].sum() for bounds in (ours, theirs)]
    assert covers[0] > 0.94
    assert covers[1] < bootstrap


def test_independent_images_are_all_effective():
    values = (np.arange(100) % 9 > 0).astype(float)
    assert effective_images(values, ONE[:100], np.arange(100)) == pytest.approx(100)
    assert effective_images(values, np.arange(100) % 4, np.arange(100)) == pytest.approx(100)


def test_copies_count_once():
    values = np.repeat((np.arange(40) % 9 > 0).astype(float), 5)
    assert effective_images(values, ONE[:200], np.repeat(np.arange(40), 5)) == pytest.approx(40)


def test_where_all_are_right_groups_count_as_one_image_each_and_unequal_ones_as_fewer():
    equal, unequal = np.repeat(np.arange(15), 30), np.repeat(np.arange(5), [1, 1, 1, 1, 16])
    assert effective_images(np.ones(450), ONE[:450], equal) == pytest.approx(15)
    assert effective_images(np.ones(20), ONE[:20], unequal) == pytest.approx(20**2 / (4 + 16**2))
    few = np.repeat([0, 1], [100, 4])  # all four images of a class may be right by luck
    assert effective_images(np.ones(104), few, np.arange(104)) == pytest.approx(8)
    patients = np.tile(np.arange(10), 20)  # each patient has images of both classes
    assert effective_images(np.ones(200), np.repeat([0, 1], 100), patients) == pytest.approx(10)


def test_groups_that_have_nothing_in_common_cost_little():
    many = (np.random.default_rng(0).random((30, 600)) < 0.8).astype(float)
    found = [effective_images(values, ONE[:600], np.repeat(np.arange(60), 10)) for values in many]
    assert 450 < np.mean(found) <= 600


def test_one_wrong_image_says_little_of_how_wrong_ones_come():
    values, groups = np.ones(600), np.repeat(np.arange(20), 30)
    values[3] = 0
    assert 20 <= effective_images(values, ONE[:600], groups) < 60


def balanced(values, classes):
    return np.mean([values[classes == name].mean() for name in np.unique(classes)])


def answers(generator, accuracies, sizes, alike):
    """Return images, right or wrong, in groups with beta distributed accuracies of the given means.

    `alike` is the correlation within a group.
    """
    shape = (1 - alike) / alike
    of_groups = generator.beta(np.maximum(accuracies * shape, 1e-9), (1 - accuracies) * shape)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return (generator.random(len(groups)) < of_groups[groups]).astype(float), groups


@pytest.mark.parametrize(
    ("accuracy", "alike", "sizes"),
    [
        (0.9, 0.4, [30] * 20),
        (0.98, 0.1, [30] * 60),
        (0.98, 0.4, [30] * 60),
        (0.7, 0.4, [30] * 8),
        (0.9, 0.9, [1, 1, 1, 30] * 15),
        (0.98, 0.4, [1, 5, 60] * 15),
    ],
)
def test_the_interval_covers_where_images_are_right_in_groups_and_the_naive_one_does_not(accuracy, alike, sizes):
    generator, covered, naive = np.random.default_rng(0), 0, 0
    for _ in range(300):
        values, groups = answers(generator, np.full(len(sizes), accuracy), np.array(sizes), alike)
        low, high = wilson(values.mean(), effective_images(values, ONE[:1].repeat(len(values)), groups))
        covered += low <= accuracy <= high
        low, high = wilson(values.mean(), len(values))
        naive += low <= accuracy <= high
    assert naive < 0.75 * 300
    assert covered > 0.92 * 300  # 95% of 300 is 285, with a standard deviation of 4


@pytest.mark.parametrize(
    ("recalls", "sizes"),
    [
        ([0.98] * 10, [45] * 10),
        ([0.95] * 40, [5] * 40),
        ([0.99, 0.99, 0.7], [200, 50, 8]),
        ([1.0, 1.0, 0.9, 0.5], [40, 20, 10, 4]),
        ([0.9] * 6, [1, 2, 4, 8, 16, 32]),
    ],
)
def test_the_interval_of_a_balanced_accuracy_covers(recalls, sizes):
    generator, covered = np.random.default_rng(0), 0
    classes = np.repeat(np.arange(len(sizes)), sizes)
    for _ in range(300):
        values = (generator.random(len(classes)) < np.array(recalls)[classes]).astype(float)
        low, high = wilson(balanced(values, classes), effective_images(values, classes, np.arange(len(classes))))
        covered += low <= np.mean(recalls) <= high
    assert covered > 0.92 * 300  # 95% of 300 is 285, with a standard deviation of 4


def test_the_interval_of_a_balanced_accuracy_covers_with_tracks_of_one_class_each():
    generator, covered, naive = np.random.default_rng(0), 0, 0
    recalls = np.repeat([0.95, 0.8, 0.99, 0.6], [12, 9, 6, 4])
    classes = np.repeat(np.repeat(np.arange(4), [12, 9, 6, 4]), 20)
    truth = np.mean([0.95, 0.8, 0.99, 0.6])
    for _ in range(300):
        values, groups = answers(generator, recalls, np.full(31, 20), 0.3)
        share = balanced(values, classes)
        for number, count in enumerate((effective_images(values, classes, groups), len(values))):
            low, high = wilson(share, count)
            covered, naive = covered + (number == 0) * (low <= truth <= high), naive + number * (low <= truth <= high)
    assert naive < 0.75 * 300
    assert covered > 0.92 * 300  # 95% of 300 is 285, with a standard deviation of 4


@pytest.mark.parametrize(("right", "images", "chance"), [(33, 100, 0.25), (36, 100, 0.25), (10, 10, 0.7), (0, 40, 0.5)])
def test_the_test_against_chance_is_scipys(right, images, chance):
    theirs = binomtest(right, images, chance, alternative="greater").pvalue
    assert above_chance(right / images, chance, images) == (theirs < 0.01)
