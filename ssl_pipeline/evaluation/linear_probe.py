"""The linear probe: multinomial logistic regression on frozen features, with an L2 penalty chosen on validation images.

The probe minimises, over standardised features x and with an unpenalised bias,

    |W|^2 / 2 + strength * sum_i cross_entropy(softmax(W x_i + b), y_i)

so that a larger strength means a weaker penalty. The standardisation is folded into the weights that are returned: a
probe takes features as they come out of the backbone, and is one matrix product in the exported graph.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.errors import PipelineError

__all__ = ["Probe", "fit", "fit_at"]

Features = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Kinds = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""First column of each kind, kind of each of the D columns, and number of columns of each kind."""

_MAX_ITERATIONS = 1000
_PATIENCE_IN_STRENGTHS = 2  # strengths without improvement; weaker penalties are the slowest and only overfit more
_ROWS = 1024  # rows of features at a time, whose products take twice as much memory as the features
_BIAS_OF_UNSEEN_CLASS = (
    -1e4
)  # of a class without labels: the optimum is minus infinity, and exp(-10000) is 0 in any floating-point format


@dataclass(frozen=True)
class Probe:
    """Class scores that are linear in the features.

    Attributes:
        weight: Weights (C, D), float32.
        bias: Biases (C,), float32; -10000 for a class without labelled training images.
        strength: Inverse penalty that the probe was fitted with.
        converged: Whether the solver met its tolerance (largest gradient component of the mean loss below 1e-4).
        validation: Strength -> accuracy on validation images, from the strongest penalty on, for each strength that was
            tried; empty if there was nothing to choose.
    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    strength: float
    converged: bool
    validation: dict[float, float]

    def predict_proba(self, features: Features) -> npt.NDArray[np.float64]:
        """Return class probabilities (n, C) for features (n, D)."""
        logits = (features @ self.weight.T + self.bias).astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def predict(self, features: Features) -> Labels:
        """Return the most likely class (n,) for features (n, D)."""
        return np.asarray((features @ self.weight.T + self.bias).argmax(axis=1))


def fit(
    features: Features,
    labels: Labels,
    strengths: Sequence[float],
    val_features: Features,
    val_labels: Labels,
    *,
    class_count: int,
) -> Probe:
    """Fit on training images, with the strength that does best on validation images.

    The best strength has the highest accuracy, the figure that is reported. Ties are broken by the lowest log-loss,
    because accuracies on few validation images tie often, and then by the stronger penalty. (Balanced accuracy would
    depend on the few images of the rarest class.) The path goes from the strongest penalty to the weakest, with each
    fit starting from the one before, and ends early after two strengths in a row without improvement.

    Args:
        features: Features (n, D) of labelled training images.
        labels: Class numbers (n,) in [0, class_count), of at least two different classes.
        strengths: Strengths to try, in any order.
        val_features: Features (m, D) of validation images. If there are none (m = 0), the middle strength is used.
        val_labels: Class numbers (m,) of the validation images.
        class_count: Number of classes, C.

    Raises:
        PipelineError: The labels name fewer than two classes.
    """
    path = sorted(set(strengths))
    if len(val_labels) == 0:
        return fit_at(features, labels, path[(len(path) - 1) // 2], class_count=class_count)
    best, best_score, since = None, (-1.0, 0.0), 0
    validation: dict[float, float] = {}
    for probe in _path(features, labels, path, class_count):
        chances = probe.predict_proba(val_features)
        accuracy = float((chances.argmax(axis=1) == val_labels).mean())
        fit_of_chances = float(np.log(np.maximum(chances[np.arange(len(val_labels)), val_labels], 1e-12)).mean())
        validation[probe.strength] = accuracy
        since += 1
        if (accuracy, fit_of_chances) > best_score:
            best, best_score, since = probe, (accuracy, fit_of_chances), 0
        if since == _PATIENCE_IN_STRENGTHS:
            break
    assert best is not None  # accuracy is at least 0, so the first is better than the start
    return Probe(best.weight, best.bias, best.strength, best.converged, validation)


def fit_at(features: Features, labels: Labels, strength: float, *, class_count: int) -> Probe:
    """Fit with a fixed strength; arguments and errors are those of `fit`."""
    return next(_path(features, labels, [strength], class_count))


def _path(features: Features, labels: Labels, strengths: Sequence[float], class_count: int) -> Iterator[Probe]:
    """Yield probes for ascending strengths, each fitted from the one before."""
    from sklearn.linear_model import LogisticRegression

    present = len(np.unique(labels))
    if present < 2:
        raise PipelineError(f"a linear probe needs labels of at least two classes, got {present}.")
    scaled, mean, scale = _standardize(features)
    narrow, restore = _narrow(scaled)
    solver = LogisticRegression(max_iter=_MAX_ITERATIONS, tol=1e-4, warm_start=True)  # lbfgs: no randomness
    for strength in strengths:
        # With two classes, scikit-learn fits one vector w. The optimum has W = (-w/2, w/2), so |w|^2 is twice |W|^2.
        converged = _solve(solver.set_params(C=2 * strength if present == 2 else strength), narrow, labels)
        coefficients, intercepts = restore(solver.coef_.astype(np.float64)), solver.intercept_.astype(np.float64)
        if present == 2:
            coefficients = np.concatenate([-coefficients, coefficients]) / 2
            intercepts = np.concatenate([-intercepts, intercepts]) / 2
        weight = np.zeros((class_count, features.shape[1]))
        bias = np.full(class_count, _BIAS_OF_UNSEEN_CLASS)
        weight[solver.classes_] = coefficients / scale
        bias[solver.classes_] = intercepts - weight[solver.classes_] @ mean
        yield Probe(weight.astype(np.float32), bias.astype(np.float32), float(strength), converged, {})


def _solve(solver: Any, scaled: Features, labels: Labels) -> bool:
    """Run the solver and return whether it converged; the caller reports this instead of a warning."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        solver.fit(scaled, labels)
    return not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _standardize(features: Features) -> tuple[Features, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return features with mean 0 and standard deviation 1, the mean (D,) and the scale (D,).

    A dimension that varies by less than 1e-6 of the largest component contains rounding errors and no signal. It is set
    to 0, so that the penalty keeps its weight at 0.
    """
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scaled = features - mean
    scale = np.sqrt(np.einsum("nd,nd->d", scaled, scaled, dtype=np.float64) / len(features))
    constant = scale <= 1e-6 * np.abs(features).max()
    scaled[:, constant] = 0.0
    scale[constant] = 1.0
    scaled /= scale.astype(np.float32)
    return scaled, mean.astype(np.float64), scale


def _narrow(scaled: Features) -> tuple[Features, Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]]:
    """Return equivalent features of fewer dimensions, and a function that maps weights (C, d) on them back to (C, D).

    Rotating the features changes neither the loss nor its penalty, and a dimension of zeros keeps a weight of 0. So k
    equal dimensions, such as the bands of grey images, become one that is sqrt(k) times as long, and dimensions of
    zeros are left out.

    Args:
        scaled: Standardised features (n, D).
    """
    kinds = _likely_kinds(scaled)
    if 2 * np.count_nonzero(scaled[0, kinds[0]]) > scaled.shape[1]:  # the test below, without a copy of the features
        return scaled, lambda weights: weights
    first, member, counts = _equal_columns(scaled, kinds)
    lengths, kept = np.sqrt(counts), (scaled[:, first] != 0).max(axis=0)
    kept[0] |= not kept.any()  # the solver needs at least one dimension
    if 2 * kept.sum() > scaled.shape[1]:  # the gain is too small to justify different rounding
        return scaled, lambda weights: weights
    narrow = scaled[:, first[kept]] * lengths[kept].astype(np.float32)

    def restore(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        of_kinds = np.zeros((len(weights), len(first)))
        of_kinds[:, kept] = weights
        return np.asarray((of_kinds / lengths)[:, member])

    return narrow, restore


def _likely_kinds(values: Features) -> Kinds:
    """Return the kinds of columns by a hash: columns of one kind are equal, except for rare collisions."""
    factors = np.random.default_rng(0).integers(1, 2**63, len(values), np.uint64)
    sums = np.zeros(values.shape[1], np.uint64)
    for start in range(0, len(values), _ROWS):
        bits = values[start : start + _ROWS].view(np.uint32)
        sums += (factors[start : start + _ROWS, None] * bits).sum(axis=0)  # modulo 2**64
    return np.unique(sums, return_index=True, return_inverse=True, return_counts=True)[1:]


def _equal_columns(values: Features, kinds: Kinds) -> Kinds:
    """Return the kinds if the columns of each kind are indeed equal; otherwise make each column a kind."""
    first, member, _ = kinds
    if np.array_equal(values, values[:, first[member]]):
        return kinds
    alone = np.arange(values.shape[1])
    return alone, alone, np.ones_like(alone)
