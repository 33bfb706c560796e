"""Confidence intervals for means over pretrained encoders, draws of labels and test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.statistics.intervals import Interval
from ssl_pipeline.evaluation.statistics.proportions import LEVEL, effective_images, kish, wilson

__all__ = ["Estimate", "accuracy", "gain", "holm"]

Scores = npt.NDArray[np.floating[Any] | np.integer[Any] | np.bool_]
Groups = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

_PSEUDO_GAIN = (-(0.5**0.5), 0.5**0.5)


@dataclass(frozen=True)
class Estimate:
    """A mean difference, the half width of its 95% interval, and the two-sided p-value of a true mean of 0."""

    mean: float
    margin: float
    p: float


def accuracy(correct: Scores, groups: Groups) -> Interval:
    """Return the share of test images that are classified correctly, with Wilson's interval.

    Wilson's interval is computed for the number of independent images that would leave the share as uncertain as test
    images, draws and encoders together leave it. The uncertainty from the images is that of
    `intervals.Scores.interval`; the uncertainty from draws and encoders is estimated from the spread of their means.

    Args:
        correct: Scores (encoders, draws, images): 1 for an image that is classified correctly, 0 otherwise.
        groups: Group numbers (images,), equal for images of one group.
    """
    from scipy.stats import norm, t

    encoders, draws, images = correct.shape
    share, values = float(correct.mean()), correct.mean(axis=(0, 1))
    number = effective_images(values, np.zeros(images, np.int64), groups)
    if values.var() > 0:  # the mean of several predictions is less uncertain than one
        number *= min(share * (1 - share) / values.var(), encoders * draws)
    near = (share * number + 2) / (number + 4)  # gives a spread to a share of 1, too (Agresti and Coull 1998)
    variances, freedoms = _spreads(correct, luck=False)
    total = near * (1 - near) / number + variances.sum()
    uncertain = (variances**2 / freedoms).sum() / total**2  # images have infinitely many degrees of freedom
    tail = (1 - LEVEL) / 2
    penalty = (norm.isf(tail) / t.isf(tail, 1 / uncertain)) ** 2 if uncertain > 0 else 1.0
    low, high = wilson(share, max(1.0, near * (1 - near) / total * penalty))
    return Interval(share, min(low, share), max(high, share))


def gain(scores: Scores, groups: Groups, *, luck: bool) -> Estimate:
    """Return how much better one arm is than another, from paired differences.

    The variances of the mean over images, draws and encoders add up, each estimated from its own margin of the table.
    The t quantile has Welch and Satterthwaite's degrees of freedom. An interval over draws alone would be almost empty
    at the largest budget, where all draws contain the same labels.

    For the spread over images, half an image is added that only the first arm classifies correctly, and half an image
    that only the second does. Without them, a few images on which the arms agree would leave no uncertainty (Agresti
    and Min 2005, Statistics in Medicine 24(5)).

    Args:
        scores: Differences of scores of 0 and 1, (encoders, draws, images).
        groups: Group numbers (images,), equal for images of one group.
        luck: Whether the other arm has new random weights in each draw. If there is only one pretrained encoder, the
            spread over these weights then also represents the luck in the weights of that encoder. This is exact for
            an encoder that learned nothing, because its weights are one more random draw. The spread also contains the
            interaction of labels and weights, which makes the interval conservative; with several encoders it is not.

    Returns:
        Estimate in the units of the scores.

    Source: Owen 2007 (0712.1111), for means of crossed samples.
    """
    from scipy.stats import t

    of_groups = np.append(_group_values(scores.mean(axis=(0, 1)), groups), _PSEUDO_GAIN)
    variances, freedoms = _spreads(scores, luck)
    variances = np.append(variances, of_groups.var(ddof=1) / len(of_groups))
    freedoms = np.append(freedoms, max(1.0, kish(np.unique(groups, return_counts=True)[1])[0] - 1))
    mean, error = float(scores.mean()), np.sqrt(variances.sum())
    freedom = variances.sum() ** 2 / (variances**2 / freedoms).sum()
    margin = t.isf((1 - LEVEL) / 2, freedom) * error
    return Estimate(mean, float(margin), float(2 * t.sf(abs(mean) / error, freedom)))


def holm(chances: Sequence[float]) -> list[float]:
    """Return p-values corrected so that one or more false findings among them are as rare as in a single test.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    corrected, order, largest = [0.0] * len(chances), np.argsort(chances, kind="stable"), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = largest
    return corrected


def _spreads(scores: Scores, luck: bool) -> tuple[Values, Values]:
    """Return the variances of the mean over draws and over encoders, if there are several, and degrees of freedom.

    Args:
        scores: Scores (encoders, draws, images).
        luck: Whether the other arm has new random weights in each draw; see `gain`.
    """
    encoders, draws, _ = scores.shape
    parts = []
    if draws > 1:
        share = 1 + 1 / draws if luck and encoders == 1 else 1 / draws
        parts.append((scores.mean(axis=(0, 2)).var(ddof=1) * share, draws - 1))
    if encoders > 1:
        parts.append((scores.mean(axis=(1, 2)).var(ddof=1) / encoders, encoders - 1))
    variances, freedoms = np.array(parts, np.float64).reshape(-1, 2).T
    return variances, freedoms


def _group_values(values: Values, groups: Groups) -> Values:
    """Return one value per group, with the mean of the images and the spread of the groups.

    Errors within a group are correlated, so the groups are what chance draws, each weighted by its number of images. If
    every image is its own group, the values are those of the images.

    Source: Liang and Zeger 1986, Biometrika 73(1), for variances with clusters.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    sums = np.bincount(numbers, values - values.mean())
    return np.asarray(values.mean() + sums * (len(sums) / len(values)))
