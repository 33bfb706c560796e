import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from ssl_pipeline.evaluation.intervals import MEASURES, bootstrap, sign_test


def answers(accuracy: float, n: int, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels of unbalanced classes, and predictions of which about a given share is right."""
    generator = np.random.default_rng(seed)
    shares = np.arange(1, classes + 1)
    actual = generator.choice(classes, n, p=shares / shares.sum())
    wrong = (actual + 1 + generator.integers(0, classes - 1, n)) % classes
    return actual, np.where(generator.random(n) < accuracy, actual, wrong)


def test_values_are_scikit_learn_s():
    actual, predicted = answers(0.7, 333, 0)
    actual[actual == 2] = 3  # a class that does not occur
    scores = bootstrap(actual, {"a": predicted}, 100, 0)
    assert scores.interval("a", "accuracy").value == pytest.approx(accuracy_score(actual, predicted))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        expected = balanced_accuracy_score(actual, predicted)
    assert scores.interval("a", "balanced_accuracy").value == pytest.approx(expected)


def test_draws_are_scikit_learn_s_on_the_same_resamples():
    """Every resample is one of 27: its scores must be among those that scikit-learn gives."""
    actual, predicted = np.array([0, 0, 1]), np.array([0, 1, 1])
    possible = set()
    for chosen in np.ndindex(3, 3, 3):
        a, p = actual[list(chosen)], predicted[list(chosen)]
        recalls = [(p[a == label] == label).mean() for label in np.unique(a)]
        possible.add((round(accuracy_score(a, p), 9), round(float(np.mean(recalls)), 9)))
    draws = bootstrap(actual, {"a": predicted}, 500, 0).draws["a"]
    assert {tuple(row) for row in draws.round(9)} == possible


@pytest.mark.parametrize("measure", MEASURES)
def test_interval_is_that_of_a_plain_bootstrap(measure):
    actual, predicted = answers(0.8, 200, 1)
    rows = np.random.default_rng(7).integers(0, 200, (20_000, 200))
    right, labels = (actual == predicted)[rows], actual[rows]  # every class occurs in every resample
    recalls = [(right & (labels == label)).sum(1) / (labels == label).sum(1) for label in range(4)]
    draws = right.mean(1) if measure == "accuracy" else np.mean(recalls, axis=0)
    _, low, high = bootstrap(actual, {"a": predicted}, 20_000, 0).interval("a", measure)
    assert (low, high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])), abs=0.0055)


def test_interval_covers_the_truth_about_95_times_in_100():
    covered = 0
    for seed in range(200):
        _, low, high = bootstrap(*answers_for(seed), 300, seed).interval("a", "accuracy")
        covered += low <= 0.7 <= high
    assert 180 <= covered <= 198


def answers_for(seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    actual, predicted = answers(0.7, 150, seed)
    return actual, {"a": predicted}


def test_differences_are_paired():
    actual, good = answers(0.8, 400, 3)
    better = good.copy()
    slips = np.flatnonzero(good != actual)[:20]
    better[slips] = actual[slips]
    scores = bootstrap(actual, {"good": good, "better": better, "same": good}, 1000, 0)
    assert scores.gain("good", "same", "accuracy") == (0.0, 0.0, 0.0)
    gain = scores.gain("better", "good", "accuracy")
    assert gain.value == pytest.approx(20 / 400)
    assert 0.02 < gain.low < gain.value < gain.high < 0.08
    assert scores.interval("better", "accuracy").low < scores.interval("good", "accuracy").high  # unpaired: overlap


@pytest.mark.parametrize(("first", "second"), [(9, 1), (1, 9), (6, 0), (5, 5), (12, 11), (40, 20)])
def test_the_sign_test_counts_the_coin_throws_that_are_as_uneven_or_more(first, second):
    thrown, most = first + second, max(first, second)
    tail = sum(math.comb(thrown, heads) for heads in range(most, thrown + 1)) / 2**thrown
    alone = np.repeat([True, False], [first, second])
    both, neither = np.ones(30, bool), np.zeros(20, bool)  # say nothing of the difference
    answers = [np.concatenate([one, both, neither]) for one in (alone, ~alone)]
    assert sign_test(*answers) == pytest.approx(min(1.0, 2 * tail))


def test_the_sign_test_of_equals_is_certain_of_nothing():
    assert sign_test(np.ones(5, bool), np.ones(5, bool)) == 1.0


def test_seed_and_resamples():
    actual, predicted = answers(0.8, 100, 4)
    one = bootstrap(actual, {"a": predicted}, 130, 0)
    two = bootstrap(actual, {"b": actual, "a": predicted}, 130, 0)  # not changed by who else is scored
    assert one.draws["a"].shape == (130, 2)
    assert np.array_equal(one.draws["a"], two.draws["a"])
    assert not np.array_equal(one.draws["a"], bootstrap(actual, {"a": predicted}, 130, 1).draws["a"])
    assert two.interval("b", "accuracy") == (1.0, 1.0, 1.0)


def test_one_image():
    scores = bootstrap(np.array([3]), {"a": np.array([3])}, 100, 0)
    assert scores.interval("a", "balanced_accuracy") == (1.0, 1.0, 1.0)
