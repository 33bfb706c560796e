"""Accuracy and balanced accuracy with 95% intervals, for several classifiers on the same test images.

The interval of an accuracy is Wilson's. The interval of a difference between two classifiers is paired. With at least
200 test images, of which at least 10 tell the classifiers apart, it consists of percentiles over bootstrap resamples of
the images (Efron 1979); otherwise it is exact. Balanced accuracy has the same intervals, for the number of images that
would leave a plain accuracy as uncertain. If images come in groups (the frames of a track, the images of a patient),
groups are resampled and counted in place of images.

Intervals cover the chance in the choice of test images, but not in the choice of training images or weights.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.statistics import paired
from ssl_pipeline.evaluation.statistics.proportions import LEVEL, effective_images, wilson

__all__ = ["MEASURES", "Interval", "Scores", "drawn_groups", "mean_of_strata", "score"]

Labels = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

MEASURES = ("accuracy", "balanced_accuracy")

_MIN_RESAMPLED_GROUPS = 200  # with fewer groups, percentiles over resamples are too close together
_MIN_DISCORDANT_GROUPS = 10  # with fewer groups that tell two classifiers apart, they are so for any number of images
_RESAMPLES_PER_TILE = 64  # resamples computed at once


class Interval(NamedTuple):
    """A share of the test images, or a difference of shares, with the bounds of its 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scores:
    """Classifiers on the same n test images.

    Attributes:
        actual: True labels (n,).
        groups: Group numbers (n,), equal for images of one group.
        right: Classifier -> scores (n,), 1 where it is right and 0 elsewhere.
        draws: Classifier -> measures (B, 2) on resamples of the groups, with columns as in MEASURES; empty if there are
            too few groups.
    """

    actual: Labels
    groups: Labels
    right: dict[str, Float64]
    draws: dict[str, Float64]

    def interval(self, name: str, measure: str) -> Interval:
        """Return one classifier's figure, with its interval."""
        strata = self._strata(measure)
        share = mean_of_strata(self.right[name], strata)
        low, high = wilson(share, effective_images(self.right[name], strata, self.groups))
        return Interval(share, min(low, share), max(high, share))

    def gain(self, name: str, over: str, measure: str) -> Interval:
        """Return how much better `name` is than `over` on the same images."""
        strata, differences = self._strata(measure), self.right[name] - self.right[over]
        apart = np.unique(self.groups[differences != 0])
        if self.draws and len(apart) >= _MIN_DISCORDANT_GROUPS:
            column = MEASURES.index(measure)
            draws = self.draws[name][:, column] - self.draws[over][:, column]
            low, high = np.percentile(draws, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
        else:
            first, second = (mean_of_strata(np.maximum(sign * differences, 0), strata) for sign in (1, -1))
            low, high = paired.difference(first, second, effective_images(differences, strata, self.groups))
        return Interval(mean_of_strata(differences, strata), float(low), float(high))

    def _strata(self, measure: str) -> Labels:
        return np.zeros_like(self.actual) if measure == "accuracy" else self.actual


def score(actual: Labels, predictions: Mapping[str, Labels], groups: Labels, resamples: int, seed: int) -> Scores:
    """Score classifiers on the test images and on resamples of their groups, which are the same for all classifiers.

    Args:
        actual: True labels (n,) of the test images, from 0; n >= 1.
        predictions: Classifier -> predicted labels (n,).
        groups: Group numbers (n,), equal for images of one group.
        resamples: Number of resamples, B.
        seed: Seed of the resamples.
    """
    right = {name: (predicted == actual).astype(np.float64) for name, predicted in predictions.items()}
    names, numbers = np.unique(groups, return_inverse=True)
    if len(names) < _MIN_RESAMPLED_GROUPS:
        return Scores(actual, groups, right, {})
    generator = np.random.default_rng(seed)
    draws: dict[str, list[Float64]] = {name: [] for name in predictions}
    of_classes = _table(numbers, actual, np.ones(len(actual)))
    hits = {name: _table(numbers, actual, values) for name, values in right.items()}
    for counts in drawn_groups(len(names), resamples, generator):
        for name in predictions:
            draws[name].append(_score(counts @ of_classes, counts @ hits[name]))
    return Scores(actual, groups, right, {name: np.concatenate(tiles) for name, tiles in draws.items()})


def mean_of_strata(values: Float64 | npt.NDArray[np.bool_], strata: Labels) -> float:
    """Return the mean of the strata's means of values (n,): the balanced accuracy, if strata are classes."""
    _, numbers, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    return float((np.bincount(numbers, values) / sizes).mean())


def drawn_groups(groups: int, resamples: int, generator: np.random.Generator) -> Iterator[Float64]:
    """Yield the number of times that each group is drawn, (b, groups), for b resamples at a time."""
    for start in range(0, resamples, _RESAMPLES_PER_TILE):
        size = min(_RESAMPLES_PER_TILE, resamples - start)
        yield generator.multinomial(groups, np.full(groups, 1 / groups), size=size).astype(np.float64)


def _table(groups: Labels, classes: Labels, values: Float64) -> Any:
    """Return the sums of values (n,) by group and class, (groups, C); sparse, because a group has few classes."""
    from scipy.sparse import csr_array

    return csr_array((values, (groups, classes)))


def _score(images: Float64, hits: Float64) -> Float64:
    """Return both measures (b, 2) of b resamples from their images per class and correct images per class, (b, C).

    Balanced accuracy is the mean recall of the classes that occur in a resample.
    """
    recalls = hits / np.maximum(images, 1)
    return np.stack([hits.sum(1) / images.sum(1), recalls.sum(1) / (images > 0).sum(1)], axis=1)
