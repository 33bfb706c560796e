"""How much chance affects means over encoders, draws of labels and test images."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import special, stats

from ssl_pipeline.evaluation.statistics.estimates import Estimate, accuracy, gain, holm
from ssl_pipeline.evaluation.statistics.intervals import score
from ssl_pipeline.evaluation.statistics.proportions import wilson

ALONE = np.arange(400)  # every image is its own group
MANY = 20_000  # so many images that pseudo-images do not matter


def bounds(found: Estimate) -> tuple[float, float]:
    return found.mean - found.margin, found.mean + found.margin


def test_where_only_draws_differ_it_is_student_s_interval_of_their_means():
    means = np.array([0.6, 0.7, 0.65, 0.8, 0.75])
    found = gain(np.repeat(means[None, :, None], MANY, axis=2), np.arange(MANY), luck=False)
    expected = stats.t.interval(0.95, 4, loc=means.mean(), scale=stats.sem(means))
    assert bounds(found) == pytest.approx(expected, rel=1e-4)
    assert found.p == pytest.approx(stats.ttest_1samp(means, 0).pvalue, rel=1e-3)


def test_the_luck_of_one_encoder_counts_as_one_more_draw_of_weights():
    means = np.array([0.6, 0.7, 0.65, 0.8, 0.75])
    found = gain(np.repeat(means[None, :, None], MANY, axis=2), np.arange(MANY), luck=True)
    expected = stats.t.interval(0.95, 4, loc=means.mean(), scale=means.std(ddof=1) * np.sqrt(1 + 1 / 5))
    assert bounds(found) == pytest.approx(expected, rel=1e-4)


def test_where_only_encoders_differ_it_is_student_s_interval_of_their_means():
    means = np.array([0.6, 0.7, 0.65])
    found = gain(np.broadcast_to(means[:, None, None], (3, 4, MANY)), np.arange(MANY), luck=True)
    expected = stats.t.interval(0.95, 2, loc=means.mean(), scale=stats.sem(means))
    assert bounds(found) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("right", "groups"), [(240, ALONE[:300]), (300, ALONE[:300]), (240, np.arange(300) // 10)])
def test_where_only_images_differ_it_is_the_interval_of_linear_eval(right: int, groups: np.ndarray):
    correct, labels = np.random.default_rng(0).permutation(300) < right, np.zeros(300, np.int64)
    found = accuracy(np.repeat(correct[None, None], 5, axis=1), groups)
    expected = score(labels, {"it": np.where(correct, 0, 1)}, groups, 100, 0).interval("it", "accuracy")
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("right", [0, 45, 50])
def test_an_accuracy_is_never_beyond_what_a_share_can_be(right: int):
    found = accuracy((np.arange(50) < right)[None, None], ALONE[:50])
    assert tuple(found) == pytest.approx((right / 50, *wilson(right / 50, 50)))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.high - found.low > 0.05


def test_the_accuracy_of_one_group_says_next_to_nothing():
    found = accuracy((np.arange(40) < 34)[None, None], np.zeros(40, np.int64))
    assert (found.value, found.low < 0.2, found.high > 0.95) == (0.85, True, True)


@pytest.mark.parametrize(
    ("images", "true", "least"), [(50, 0.987, 0.95), (451, 0.987, 0.94), (451, 0.999, 0.92), (80, 0.6, 0.94)]
)
def test_the_interval_of_an_accuracy_holds_near_one(images: int, true: float, least: float):
    """The coverage is summed over all numbers of correct images, weighted with their probabilities.

    Wilson's interval is known to cover least where half an error is expected (Brown, Cai and DasGupta 2001).
    """
    held = 0.0
    for right in range(images + 1):
        _, low, high = accuracy((np.arange(images) < right)[None, None], np.arange(images))
        held += stats.binom.pmf(right, images, true) * (low <= true <= high)
    assert held >= least


@pytest.mark.parametrize("groups", [ALONE[:120], np.arange(120) // 4], ids=["images", "groups of four"])
@pytest.mark.parametrize("easy", [1.0, 2.0, 4.0])
def test_the_interval_of_an_accuracy_holds_over_draws_and_images(easy: float, groups: np.ndarray):
    """Images are easy or hard in all draws, together with their group, and some draws are better than others."""
    generator, nodes = np.random.default_rng(0), np.random.default_rng(1).normal(size=100_000) * np.hypot(1.5, 0.4)
    true, held = special.expit(easy + nodes).mean(), 0
    for _ in range(400):
        images, draws = generator.normal(0, 1.5, 120)[groups], generator.normal(0, 0.4, (1, 5, 1))
        correct = generator.random((1, 5, 120)) < special.expit(easy + images + draws)
        _, low, high = accuracy(correct, groups)
        held += low <= true <= high
    assert 0.93 <= held / 400 <= 0.995


def test_a_few_images_that_all_agree_leave_doubt():
    assert accuracy(np.ones((1, 3, 30)), ALONE[:30]).low < 0.9
    assert gain(np.ones((1, 3, 2)), ALONE[:2], luck=False).p > 0.2
    assert gain(np.ones((1, 3, 20)), ALONE[:20], luck=False).p < 0.001


def held(make: Callable[[np.random.Generator], np.ndarray], groups: np.ndarray, luck: bool = False) -> float:
    """Return how often the interval of a gain covers the truth, 0."""
    generator = np.random.default_rng(1)
    found = [gain(make(generator), groups, luck=luck) for _ in range(600)]
    return float(np.mean([abs(one.mean) <= one.margin for one in found]))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """Encoders, draws, images and their combinations all vary."""

    def make(generator: np.random.Generator) -> np.ndarray:
        encoders, draws = generator.normal(0, 0.04, (3, 1, 1)), generator.normal(0, 0.05, (1, 5, 1))
        return encoders + draws + generator.normal(0, 0.4, (1, 1, 60)) + generator.normal(0, 0.2, (3, 5, 60))

    assert 0.935 <= held(make, ALONE[:60]) <= 0.995


GROUPS = np.repeat(np.arange(40), np.tile([3, 5, 10, 14], 10))


def grouped(generator: np.random.Generator) -> np.ndarray:
    """Return scores in which the images of a group err together."""
    images = generator.normal(0, 0.4, 40)[GROUPS] + generator.normal(0, 0.2, len(GROUPS))
    return images + generator.normal(0, 0.02, (1, 5, 1))


def test_where_images_have_groups_the_interval_holds_over_groups_and_does_not_over_images():
    assert 0.93 <= held(grouped, GROUPS) <= 0.99
    assert held(grouped, np.arange(len(GROUPS))) < 0.7


def test_a_group_of_each_image_s_own_is_no_group_whatever_its_number():
    scores = np.random.default_rng(0).integers(-1, 2, (1, 4, 50))
    assert gain(scores, ALONE[:50], luck=False) == gain(scores, 900 - 7 * ALONE[:50], luck=False)


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.05])
def test_an_encoder_that_is_one_more_draw_of_random_weights_is_rarely_found_to_differ(spread: float):
    """`spread` is between random weights: each draw has its own weights, but the encoder is the same in all draws."""

    def make(generator: np.random.Generator) -> np.ndarray:
        own, others = generator.normal(0, spread), generator.normal(0, spread, (1, 5, 1))
        return own - others + generator.normal(0, 0.3, (1, 1, 400)) + generator.normal(0, 0.3, (1, 5, 400))

    assert held(make, ALONE, luck=True) >= 0.94
    if spread == 0.05:
        assert held(make, ALONE, luck=False) < 0.8


@pytest.mark.parametrize(
    ("chances", "expected"),
    [
        ([0.01], [0.01]),
        ([0.04, 0.01, 0.03], [0.06, 0.03, 0.06]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.9, 0.6], [1.0, 1.0]),
        ([], []),
    ],
)
def test_holm_multiplies_the_smallest_by_how_many_there_are_and_keeps_the_order(chances, expected):
    assert holm(chances) == pytest.approx(expected)


def test_holm_rejects_a_true_hypothesis_as_rarely_among_many_as_alone():
    generator = np.random.default_rng(0)
    false = [min(holm(generator.random(4).tolist())) < 0.05 for _ in range(4000)]
    assert 0.035 <= np.mean(false) <= 0.06
