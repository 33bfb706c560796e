"""Figures are scikit-learn's; intervals are paired, respect groups, and have a width even without errors."""

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from ssl_pipeline.evaluation.statistics import intervals
from ssl_pipeline.evaluation.statistics.intervals import MEASURES, Scores, score
from ssl_pipeline.evaluation.statistics.paired import difference
from ssl_pipeline.evaluation.statistics.proportions import wilson


def answers(accuracy: float, n: int, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of unbalanced classes, and predictions of which about the given share is right."""
    generator = np.random.default_rng(seed)
    shares = np.arange(1, classes + 1)
    actual = generator.choice(classes, n, p=shares / shares.sum())
    wrong = (actual + 1 + generator.integers(0, classes - 1, n)) % classes
    return actual, np.where(generator.random(n) < accuracy, actual, wrong)


def scored(actual, predictions, resamples=1000, groups=None, seed=0) -> Scores:
    return score(actual, predictions, np.arange(len(actual)) if groups is None else groups, resamples, seed)


def test_values_are_scikit_learn_s():
    actual, predicted = answers(0.7, 333, 0)
    actual[actual == 2] = 3  # a class that does not occur
    scores = scored(actual, {"a": predicted})
    assert scores.interval("a", "accuracy").value == pytest.approx(accuracy_score(actual, predicted))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = balanced_accuracy_score(actual, predicted)
    assert scores.interval("a", "balanced_accuracy").value == pytest.approx(expected)


def test_many_classes_take_no_table_of_images_and_classes():
    """Dense tables would take 4 GB for 50,000 images of 5,000 classes."""
    actual = np.arange(6000) % 3000
    tracemalloc.start()
    scored(actual, {"a": np.where(actual % 7, actual, 0)}, resamples=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6000 * 3000 * 8 / 4


def test_draws_are_scikit_learn_s_on_the_same_resamples(monkeypatch: pytest.MonkeyPatch):
    """There are only 27 resamples: all scores must be among those that scikit-learn gives for these."""
    monkeypatch.setattr(intervals, "_MIN_RESAMPLED_GROUPS", 3)
    actual, predicted = np.array([0, 0, 1]), np.array([0, 1, 1])
    possible = set()
    for chosen in np.ndindex(3, 3, 3):
        a, p = actual[list(chosen)], predicted[list(chosen)]
        recalls = [(p[a == label] == label).mean() for label in np.unique(a)]
        possible.add((round(accuracy_score(a, p), 9), round(float(np.mean(recalls)), 9)))
    draws = scored(actual, {"a": predicted}, 500).draws["a"]
    assert {tuple(row) for row in draws.round(9)} == possible


@pytest.mark.parametrize("measure", MEASURES)
def test_the_interval_of_a_gain_is_that_of_a_plain_bootstrap(measure):
    actual, predicted = answers(0.8, 250, 1)
    _, worse = answers(0.6, 250, 2)
    rows = np.random.default_rng(7).integers(0, 250, (20_000, 250))
    labels = actual[rows]  # every class occurs in every resample
    draws = []
    for answer in (predicted, worse):
        right = (actual == answer)[rows]
        recalls = [(right & (labels == label)).sum(1) / (labels == label).sum(1) for label in range(4)]
        draws.append(right.mean(1) if measure == "accuracy" else np.mean(recalls, axis=0))
    _, low, high = scored(actual, {"a": predicted, "b": worse}, 20_000).gain("a", "b", measure)
    assert (low, high) == pytest.approx(tuple(np.percentile(draws[0] - draws[1], [2.5, 97.5])), abs=0.006)


def test_differences_are_paired():
    actual, good = answers(0.8, 400, 3)
    better = good.copy()
    slips = np.flatnonzero(good != actual)[:20]
    better[slips] = actual[slips]
    scores = scored(actual, {"good": good, "better": better})
    gain = scores.gain("better", "good", "accuracy")
    assert gain.value == pytest.approx(20 / 400)
    assert 0.02 < gain.low < gain.value < gain.high < 0.08
    assert scores.interval("better", "accuracy").low < scores.interval("good", "accuracy").high  # unpaired: overlap


@pytest.mark.parametrize("images", [50, 451])
def test_all_right_is_no_certainty(images):
    actual = np.arange(images) % 5
    scores = scored(actual, {"a": actual, "same": actual})
    for measure in MEASURES:
        value, low, high = scores.interval("a", measure)
        assert (value, high) == (1.0, 1.0)
        assert low == pytest.approx(wilson(1.0, images)[0], abs=0.001)
        gain = scores.gain("a", "same", measure)
        assert gain.low < gain.value == 0 < gain.high < 2 * (1 - low)


def test_below_200_images_or_where_few_tell_the_two_apart_gains_are_exact():
    actual, good = answers(0.8, 451, 3)
    for images, slips in ((199, 30), (451, 9), (451, 10)):
        worse, right = good.copy(), np.flatnonzero(good[:images] == actual[:images])[:slips]
        worse[right] = (actual[right] + 1) % 4
        scores = scored(actual[:images], {"good": good[:images], "worse": worse[:images]})
        value, low, high = scores.gain("good", "worse", "accuracy")
        assert value == pytest.approx(slips / images)
        exact = difference(slips / images, 0, images)
        assert ((low, high) == pytest.approx(exact, abs=1e-5)) == (slips != 10)
        assert bool(scores.draws) == (images == 451)


@pytest.mark.parametrize(("images", "exact"), [(250, False), (80, True)])
def test_copies_in_a_group_change_nothing(images, exact):
    """Five frames of the same thing count as one image in accuracy, balanced accuracy and gains."""
    actual, good = answers(0.9, images, 3)
    _, bad = answers(0.6, images, 4)
    groups = np.random.default_rng(0).permutation(images)
    once = scored(actual, {"good": good, "bad": bad}, groups=groups)
    frames = scored(actual.repeat(5), {"good": good.repeat(5), "bad": bad.repeat(5)}, groups=groups.repeat(5))
    naive = scored(actual.repeat(5), {"good": good.repeat(5), "bad": bad.repeat(5)})
    assert frames.interval("good", "accuracy") == pytest.approx(once.interval("good", "accuracy"))
    assert frames.gain("good", "bad", "accuracy") == pytest.approx(once.gain("good", "bad", "accuracy"))
    assert bool(frames.draws) is not exact
    for measure in MEASURES:
        for of in (lambda scores: scores.interval("good", measure), lambda scores: scores.gain("good", "bad", measure)):  # noqa: B023
            width, too_narrow = of(frames).high - of(frames).low, of(naive).high - of(naive).low
            assert width > 1.7 * too_narrow


def test_seed_and_resamples():
    actual, predicted = answers(0.8, 200, 4)
    one = scored(actual, {"a": predicted}, 130)
    two = scored(actual, {"b": actual, "a": predicted}, 130)  # does not depend on who else is scored
    assert one.draws["a"].shape == (130, 2)
    assert np.array_equal(one.draws["a"], two.draws["a"])
    assert not np.array_equal(one.draws["a"], scored(actual, {"a": predicted}, 130, seed=1).draws["a"])


@pytest.mark.parametrize(("predicted", "value"), [(3, 1.0), (2, 0.0)])
def test_one_image(predicted, value):
    scores = scored(np.array([3]), {"a": np.array([predicted]), "b": np.array([3])})
    found = scores.interval("a", "balanced_accuracy")
    assert found.value == value
    assert found.high - found.low > 0.7
    assert scores.gain("b", "a", "accuracy").value == 1 - value
