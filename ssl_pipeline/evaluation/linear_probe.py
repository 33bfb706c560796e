"""The linear probe: multinomial logistic regression on frozen features, its L2 penalty chosen on validation.

The probe minimises, over standardised features x and with an unpenalised bias,

    |W|^2 / 2 + strength * sum_i cross_entropy(softmax(W x_i + b), y_i)

so that a larger strength means a weaker penalty. The standardisation is folded into what is returned: a probe works on
features as they come out of the backbone, and is one matrix product in the exported graph.
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
"""The first column of each kind, the kind of each of the D columns, and how many there are of each kind."""

_MAX_ITERATIONS = 1000
_PATIENCE_IN_STRENGTHS = 2  # strengths; weaker penalties take the solver longest, and only overfit more
_ROWS = 1024  # rows of features at a time, whose numbers take twice as much memory
_BIAS_OF_UNSEEN_CLASS = (
    -1e4
)  # bias of a class without labels: the optimum is minus infinity, and exp(-10000) is 0 in any float


@dataclass(frozen=True)
class Probe:
    """Class scores that are linear in the features.

    Attributes:
        weight: (C, D) float32 weights.
        bias: (C,) float32 biases; -10000 for a class that had no label to learn from.
        strength: The inverse penalty it was fitted with.
        converged: Whether the solver met its tolerance (largest gradient component of the mean loss below 1e-4).
        validation: Accuracy on validation for each strength that was tried, from the strongest penalty on; empty where
            there was no choice to make.
    """

    weight: npt.NDArray[np.float32]
    bias: npt.NDArray[np.float32]
    strength: float
    converged: bool
    validation: dict[float, float]

    def predict_proba(self, features: Features) -> npt.NDArray[np.float64]:
        """Return probabilities (n, C) for features (n, D)."""
        logits = (features @ self.weight.T + self.bias).astype(np.float64)
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def predict(self, features: Features) -> Labels:
        """Return the likeliest class (n,) for features (n, D)."""
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
    """Fit on train, with the strength that does best on validation.

    Best is the highest accuracy, which is what is reported; then the lowest log-loss, because few validation images tie
    often; then the stronger penalty. (Balanced accuracy would hang on the few images of the rarest class.) The path
    goes from the strongest penalty to the weakest, each fit starting from the one before, and ends early after two
    strengths in a row that were no better.

    Args:
        features: (n, D) features of labelled training images.
        labels: (n,) class numbers in [0, class_count); classes may be missing, but for two.
        strengths: The path, in any order.
        val_features: (m, D) features of validation images. Without any (m = 0) the middle of the path is taken.
        val_labels: (m,) their class numbers.
        class_count: C.

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
    """Fit with a given strength; arguments and errors as in `fit`."""
    return next(_path(features, labels, [strength], class_count))


def _path(features: Features, labels: Labels, strengths: Sequence[float], class_count: int) -> Iterator[Probe]:
    """Return probes for ascending strengths, each started from the one before."""
    from sklearn.linear_model import LogisticRegression

    present = len(np.unique(labels))
    if present < 2:
        raise PipelineError(f"a linear probe needs labels of two classes or more, got {present}.")
    scaled, mean, scale = _standardize(features)
    narrow, restore = _narrow(scaled)
    solver = LogisticRegression(max_iter=_MAX_ITERATIONS, tol=1e-4, warm_start=True)  # lbfgs: no randomness
    for strength in strengths:
        # For two classes scikit-learn fits one vector w. The optimum has W = (-w/2, w/2), so |w|^2 is twice |W|^2.
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
    """Run the solver; return whether it converged, which the caller reports instead of a warning."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        solver.fit(scaled, labels)
    return not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


def _standardize(features: Features) -> tuple[Features, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return features with mean 0 and standard deviation 1, the mean (D,) and the scale (D,).

    A dimension that varies by less than 1e-6 of the largest component holds rounding and no signal: it becomes 0, so
    that the penalty keeps its weight at 0.
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
    """Return features of fewer dimensions on which the same probes are fitted, and what brings weights (C, d) back.

    The loss and its penalty stay as they are where features are rotated, and a dimension of zeros keeps a weight of 0.
    So k equal dimensions, such as the bands of grey images, become one that is sqrt(k) times as long, and those of
    zeros are left out.

    Args:
        scaled: (n, D) standardised features.
    """
    kinds = _likely_kinds(scaled)
    if 2 * np.count_nonzero(scaled[0, kinds[0]]) > scaled.shape[1]:  # as below, without a copy of the features
        return scaled, lambda weights: weights
    first, member, counts = _equal_columns(scaled, kinds)
    lengths, kept = np.sqrt(counts), (scaled[:, first] != 0).max(axis=0)
    kept[0] |= not kept.any()  # the solver wants one
    if 2 * kept.sum() > scaled.shape[1]:  # too little is gained for other roundings
        return scaled, lambda weights: weights
    narrow = scaled[:, first[kept]] * lengths[kept].astype(np.float32)

    def restore(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        of_kinds = np.zeros((len(weights), len(first)))
        of_kinds[:, kept] = weights
        return np.asarray((of_kinds / lengths)[:, member])

    return narrow, restore


def _likely_kinds(values: Features) -> Kinds:
    """Return the kinds of columns: those of one kind are equal, but by a rare chance."""
    factors = np.random.default_rng(0).integers(1, 2**63, len(values), np.uint64)
    sums = np.zeros(values.shape[1], np.uint64)
    for start in range(0, len(values), _ROWS):
        bits = values[start : start + _ROWS].view(np.uint32)
        sums += (factors[start : start + _ROWS, None] * bits).sum(axis=0)  # modulo 2**64
    return np.unique(sums, return_index=True, return_inverse=True, return_counts=True)[1:]


def _equal_columns(values: Features, kinds: Kinds) -> Kinds:
    """Return the kinds if columns of one kind are equal, and otherwise each column as a kind."""
    first, member, _ = kinds
    if np.array_equal(values, values[:, first[member]]):
        return kinds
    alone = np.arange(values.shape[1])
    return alone, alone, np.ones_like(alone)
