import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.datasets import load_digits

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.evaluation import linear_probe
from ssl_pipeline.evaluation.linear_probe import Probe, fit, fit_at


def digits(classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    x, y = load_digits(n_class=classes, return_X_y=True)
    return x.astype(np.float32), y


def objective(weight, bias, x, y, strength):
    """Compute the probe's objective in float64, independently of the implementation."""
    loss = -log_softmax(x @ weight.T + bias, axis=1)[np.arange(len(y)), y].sum()
    return 0.5 * (weight**2).sum() + strength * loss


def on_standardized(probe: Probe, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the probe's weights and bias for standardised features, and these features."""
    x = x.astype(np.float64)
    mean, std = x.mean(0), x.std(0)
    constant = std == 0
    weight = probe.weight.astype(np.float64)
    assert (weight[:, constant] == 0).all()
    std[constant] = 1
    return weight * std, probe.bias + weight @ mean, (x - mean) / std


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("strength", [1e-3, 0.1])
def test_reaches_the_optimum_that_another_solver_finds(classes, strength):
    x, y = digits(classes)
    weight, bias, x = on_standardized(fit_at(x, y, strength, class_count=classes), x)

    def flat(parameters):
        w, b = parameters[: classes * 64].reshape(classes, 64), parameters[classes * 64 :]
        p = np.exp(log_softmax(x @ w.T + b, axis=1)) - np.eye(classes)[y]
        gradient = np.concatenate([(w + strength * p.T @ x).ravel(), strength * p.sum(0)])
        return objective(w, b, x, y, strength), gradient

    reference = minimize(
        flat, np.zeros(classes * 65), jac=True, method="L-BFGS-B", options={"gtol": 1e-9, "maxiter": 5000}
    )
    assert objective(weight, bias, x, y, strength) == pytest.approx(reference.fun, rel=2e-4)
    probabilities = np.exp(log_softmax(x @ weight.T + bias, axis=1))
    w, b = reference.x[: classes * 64].reshape(classes, 64), reference.x[classes * 64 :]
    np.testing.assert_allclose(probabilities, np.exp(log_softmax(x @ w.T + b, axis=1)), atol=5e-3)


def test_stationary_point_of_the_objective():
    x, y = digits()
    weight, bias, x = on_standardized(fit_at(x, y, 0.1, class_count=10), x)
    p = np.exp(log_softmax(x @ weight.T + bias, axis=1)) - np.eye(10)[y]
    gradient = (weight / 0.1 + p.T @ x) / len(x)  # gradient of the mean loss
    assert np.abs(gradient).max() < 2e-4
    assert np.abs(p.mean(0)).max() < 2e-4


def test_chooses_on_validation_and_the_stronger_penalty_of_two_alike():
    x, y = digits()
    probe = fit(x[:1000], y[:1000], [10.0, 1e-3, 0.1], x[1000:], y[1000:], class_count=10)
    by_hand = {
        s: (fit_at(x[:1000], y[:1000], s, class_count=10).predict(x[1000:]) == y[1000:]).mean() for s in (1e-3, 0.1)
    }
    assert list(probe.validation) == sorted(probe.validation)
    for strength, accuracy in by_hand.items():
        assert probe.validation[strength] == pytest.approx(accuracy, abs=0.004)
    assert probe.validation[probe.strength] == max(probe.validation.values())
    assert np.array_equal(probe.predict(x), probe.predict_proba(x).argmax(1))


def test_of_strengths_that_do_equally_well_the_stronger_penalty():
    alike, labels = np.ones((8, 4), np.float32), np.array([0, 1] * 4)
    assert fit(alike, labels, [10.0, 0.1, 1.0], alike, labels, class_count=2).strength == 0.1


def test_ends_the_path_when_weaker_penalties_bring_nothing():
    noise = np.random.default_rng(0).standard_normal((400, 30)).astype(np.float32)
    labels = (noise[:, 0] + np.random.default_rng(1).standard_normal(400) > 0).astype(np.int64)
    path = [10.0**power for power in range(-4, 5)]
    probe = fit(noise[:100], labels[:100], path, noise[100:], labels[100:], class_count=2)
    assert len(probe.validation) == min(path.index(probe.strength) + 3, len(path)) < len(path)


def test_is_the_same_twice_and_whatever_the_order_of_the_path():
    x, y = digits()
    first = fit(x[:800], y[:800], [0.01, 1.0], x[800:], y[800:], class_count=10)
    again = fit(x[:800], y[:800], [1.0, 0.01], x[800:], y[800:], class_count=10)
    assert first.weight.tobytes() == again.weight.tobytes()
    assert first.bias.tobytes() == again.bias.tobytes()


def test_dimensions_that_do_not_vary_are_left_out():
    x, y = digits()
    x = x * 0.01
    rounding = (1 + 1e-7 * np.random.default_rng(0).standard_normal((len(x), 2))).astype(np.float32)
    probe = fit_at(np.concatenate([x, rounding], axis=1), y, 1.0, class_count=10)
    assert (probe.weight[:, 64:] == 0).all()
    plain = fit_at(x, y, 1.0, class_count=10)
    np.testing.assert_allclose(probe.weight[:, :64], plain.weight, atol=1e-3 * np.abs(plain.weight).max())


def test_features_that_are_all_alike():
    probe = fit_at(np.ones((6, 4), np.float32), np.array([0, 0, 0, 0, 1, 1]), 1.0, class_count=2)
    assert (probe.weight == 0).all()
    np.testing.assert_allclose(probe.predict_proba(np.ones((1, 4), np.float32)), [[4 / 6, 2 / 6]], atol=1e-3)


def test_a_class_without_labels_is_never_predicted():
    x, y = digits()
    some = np.isin(y, [2, 5, 7])
    probe = fit(x[some], y[some], [0.1], x, y, class_count=10)  # validation has all classes
    assert probe.weight.shape == (10, 64)
    assert set(probe.predict(x)) == {2, 5, 7}
    assert probe.predict_proba(x)[:, [0, 1, 3, 4, 6, 8, 9]].max() == 0
    two = fit_at(x[np.isin(y, [4, 9])], y[np.isin(y, [4, 9])], 0.1, class_count=10)
    assert set(two.predict(x)) == {4, 9}


def test_one_image_a_class_is_enough_and_one_class_is_not():
    x, y = digits()
    first = np.array([np.flatnonzero(y == label)[0] for label in range(10)])
    probe = fit(x[first], y[first], [1e-3, 1.0], x[1000:], y[1000:], class_count=10)
    assert (probe.predict(x[1000:]) == y[1000:]).mean() > 0.4
    with pytest.raises(PipelineError, match="at least two classes, got 1"):
        fit(x[:3], np.zeros(3, np.int64), [1.0], x, y, class_count=10)
    with pytest.raises(PipelineError, match="got 0"):
        fit_at(x[:0], y[:0], 1.0, class_count=10)


def test_without_validation_the_middle_of_the_path():
    x, y = digits()
    probe = fit(x, y, [10.0, 0.01, 1.0, 0.1], x[:0], y[:0], class_count=10)
    assert (probe.strength, probe.validation) == (0.1, {})


def test_says_when_it_has_not_converged_without_a_warning(monkeypatch):
    x, y = digits()
    assert fit_at(x, y, 0.1, class_count=10).converged
    monkeypatch.setattr("ssl_pipeline.evaluation.linear_probe._MAX_ITERATIONS", 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not fit_at(x, y, 0.1, class_count=10).converged


def test_equal_dimensions_and_those_of_zeros_are_fitted_once_and_keep_their_weights():
    x, y = digits()
    x, three = x[:600], np.concatenate([x[:600], x[:600, ::-1], x[:600]], axis=1)
    narrow, restore = linear_probe._narrow(linear_probe._standardize(three)[0])
    assert narrow.shape[1] == len(np.flatnonzero(x.std(0)))  # 8x8 digits have pixels that are always 0
    np.testing.assert_allclose(
        narrow @ np.ones(narrow.shape[1]),
        linear_probe._standardize(three)[0] @ restore(np.ones((1, narrow.shape[1])))[0],
        rtol=1e-4,
        atol=1e-3,
    )
    probe = fit_at(three, y[:600], 0.1, class_count=10)
    left, mirrored, right = np.split(probe.weight, 3, axis=1)
    assert np.array_equal(left, right)
    assert np.array_equal(left, mirrored[:, ::-1])
    weight, bias, scaled = on_standardized(probe, three)
    p = np.exp(log_softmax(scaled @ weight.T + bias, axis=1)) - np.eye(10)[y[:600]]
    gradient = (weight / 0.1 + p.T @ scaled) / len(scaled)
    assert np.abs(gradient).max() < 2e-4


def test_columns_are_merged_only_where_they_are_equal(monkeypatch):
    x = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    x[:, 2] = x[:, 0]
    assert linear_probe._equal_columns(x, linear_probe._likely_kinds(x))[2].max() == 2
    monkeypatch.setattr(
        np.random,
        "default_rng",
        lambda seed: type(
            "Zeros", (), {"integers": staticmethod(lambda low, high, count, kind: np.zeros(count, kind))}
        ),
    )  # makes all sums equal
    assert linear_probe._equal_columns(x, linear_probe._likely_kinds(x))[2].max() == 1


def test_features_of_which_few_are_equal_are_not_copied(monkeypatch):
    x = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    x[:, 2] = x[:, 0]
    x[:, 4] = 0
    monkeypatch.setattr(linear_probe, "_equal_columns", None)
    assert linear_probe._narrow(x)[0] is x
