"""Accuracy and balanced accuracy with 95 % intervals, of several classifiers on the same test images.

The intervals are percentiles over bootstrap resamples of the test images (Efron 1979). All classifiers are scored on
the same resamples, so that the interval of a difference is that of paired differences. They say how much chance there
is in the choice of test images, taken as independent of each other; not in the choice of training images or of weights.
Where all images or none are right the bootstrap knows no doubt, and the interval has no width.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["MEASURES", "Interval", "Scores", "bootstrap", "sign_test"]

Labels = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

MEASURES = ("accuracy", "balanced_accuracy")
_TILE = 64  # resamples at a time


class Interval(NamedTuple):
    """A figure on the test images, and the bounds of its central 95 % over resamples; all are shares, from 0 to 1."""

    value: float
    low: float
    high: float


class Scores(NamedTuple):
    """Of each classifier: `values` (2,) on the test images, `draws` (B, 2) on resamples; columns as in MEASURES."""

    values: dict[str, Float64]
    draws: dict[str, Float64]

    def interval(self, name: str, measure: str) -> Interval:
        """One classifier's figure."""
        column = MEASURES.index(measure)
        return _interval(self.values[name][column], self.draws[name][:, column])

    def gain(self, name: str, over: str, measure: str) -> Interval:
        """How much better `name` is than `over` on the same images."""
        column = MEASURES.index(measure)
        draws = self.draws[name][:, column] - self.draws[over][:, column]
        return _interval(self.values[name][column] - self.values[over][column], draws)


def bootstrap(actual: Labels, predictions: Mapping[str, Labels], resamples: int, seed: int) -> Scores:
    """Score classifiers on the test images and on resamples of them.

    Args:
        actual: (n,) labels of the test images, n >= 1, from 0.
        predictions: Classifier -> (n,) predicted labels.
        resamples: B.
        seed: Of the resamples.
    """
    once = np.ones((1, len(actual)))
    generator = np.random.default_rng(seed)
    draws: dict[str, list[Float64]] = {name: [] for name in predictions}
    for counts in _resamples(len(actual), resamples, generator):
        for name, predicted in predictions.items():
            draws[name].append(_score(counts, actual, predicted))
    values = {name: _score(once, actual, predicted)[0] for name, predicted in predictions.items()}
    return Scores(values, {name: np.concatenate(tiles) for name, tiles in draws.items()})


def sign_test(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> float:
    """How likely two classifiers that are equally good differ as much as these, in either direction.

    Exact, where the bootstrap is too sure of itself: where few images tell the two apart.

    Args:
        first: (n,) whether one classifier is right, image by image.
        second: (n,) likewise, the other one.

    Returns:
        The two-sided p-value: of the images that one of the two alone has right, each is a fair coin.

    Source: McNemar 1947, Psychometrika 12(2), in its exact, binomial form.
    """
    from scipy.stats import binomtest

    alone = first != second
    return float(binomtest(int(first[alone].sum()), int(alone.sum())).pvalue) if alone.any() else 1.0


def _resamples(images: int, resamples: int, generator: np.random.Generator) -> Iterator[Float64]:
    """How often each image is drawn, (b, n) at a time."""
    for start in range(0, resamples, _TILE):
        size = min(_TILE, resamples - start)
        yield generator.multinomial(images, np.full(images, 1 / images), size=size).astype(np.float64)


def _score(counts: Float64, actual: Labels, predicted: Labels) -> Float64:
    """Both measures (b, 2) of images that count (b, n) times; balanced accuracy is the mean recall of what occurs."""
    of_class = np.eye(actual.max() + 1)[actual]  # (n, C)
    images = counts @ of_class  # (b, C)
    hits = counts @ (of_class * (predicted == actual)[:, None])
    recalls = hits / np.maximum(images, 1)
    return np.stack([hits.sum(1) / images.sum(1), recalls.sum(1) / (images > 0).sum(1)], axis=1)


def _interval(value: np.float64, draws: Float64) -> Interval:
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))
