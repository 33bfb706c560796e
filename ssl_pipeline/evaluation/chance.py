"""How far a mean over pretrained encoders, draws of labels and test images may be off by chance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Estimate", "accuracy", "gain", "holm"]

Scores = npt.NDArray[np.floating[Any] | np.integer[Any] | np.bool_]
Groups = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

_PSEUDO_ACCURACY = (0.0, 0.0, 1.0, 1.0)
_PSEUDO_GAIN = (-(0.5**0.5), 0.5**0.5)


@dataclass(frozen=True)
class Estimate:
    """A mean, the half width of its 95 % interval, and the two-sided p-value of a true mean of 0."""

    mean: float
    margin: float
    p: float


def accuracy(correct: Scores, groups: Groups) -> Estimate:
    """The share of test images told right.

    Two images that are told right and two that are not are added where the spread over images is estimated: without
    them there would be no doubt in 100 % (Agresti and Coull 1998, The American Statistician 52(2)).

    Args:
        correct: (encoders, draws, images), 1 for an image told right and 0 for another.
        groups: (images,) equal for images of one group.

    Returns:
        The estimate, of which p has no meaning here.
    """
    found, shifted = _estimate(correct, groups, _PSEUDO_ACCURACY, luck=False)
    return Estimate(found.mean, found.margin + abs(shifted - found.mean), found.p)


def gain(scores: Scores, groups: Groups, *, luck: bool) -> Estimate:
    """How much better one arm is than another, from paired differences.

    Half an image that the one alone has right and half an image that the other alone has right are added where the
    spread over images is estimated: without them, few images that all agree would leave no doubt (Agresti and Min 2005,
    Statistics in Medicine 24(5)).

    Args:
        scores: (encoders, draws, images), differences of 0 and 1.
        groups: (images,) equal for images of one group.
        luck: Whether the other arm has new random weights in each draw. Their spread then stands for the luck of the
            pretrained encoder's own weights too, where there is one alone. So it is of an encoder that has learned
            nothing: its weights are one more draw of random ones, and a lucky draw is not help. The spread holds what
            labels and weights do together as well, so that the interval is wider than it need be; that of several
            encoders is not.

    Returns:
        The estimate, in the units of the scores.
    """
    return _estimate(scores, groups, _PSEUDO_GAIN, luck)[0]


def holm(chances: Sequence[float]) -> list[float]:
    """P-values, corrected so that a false finding among all of them is as rare as it would be in one.

    Source: Holm 1979, Scandinavian Journal of Statistics 6(2).
    """
    corrected, order, largest = [0.0] * len(chances), np.argsort(chances, kind="stable"), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(chances) - rank) * chances[place]))
        corrected[place] = largest
    return corrected


def _estimate(scores: Scores, groups: Groups, pseudo: Sequence[float], luck: bool) -> tuple[Estimate, float]:
    """A mean that would be another with other encoders, labels or test images; and the mean with pseudo-images.

    The variances of the mean add up, each estimated from its own margin of the table; the degrees of freedom of Welch
    and Satterthwaite give the t quantile. Over draws alone, an interval at the largest budget, where all draws hold the
    same labels, would be next to nothing.

    Source: for means of crossed samples, Owen 2007 (0712.1111).
    """
    from scipy.stats import t

    encoders, draws, images = scores.shape
    mean = float(scores.mean())
    of_groups = np.append(_group_values(scores.mean(axis=(0, 1)), groups), pseudo)
    sizes = np.unique(groups, return_counts=True)[1]
    parts = [(of_groups.var(ddof=1) / len(of_groups), max(1.0, images**2 / float(sizes @ sizes) - 1))]
    if draws > 1:
        share = 1 + 1 / draws if luck and encoders == 1 else 1 / draws
        parts.append((scores.mean(axis=(0, 2)).var(ddof=1) * share, draws - 1))
    if encoders > 1:
        parts.append((scores.mean(axis=(1, 2)).var(ddof=1) / encoders, encoders - 1))
    variances, freedoms = np.array(parts).T
    error, freedom = np.sqrt(variances.sum()), variances.sum() ** 2 / (variances**2 / freedoms).sum()
    found = Estimate(mean, float(t.ppf(0.975, freedom) * error), float(2 * t.sf(abs(mean) / error, freedom)))
    return found, float(of_groups.mean())


def _group_values(values: Values, groups: Groups) -> Values:
    """A value for each group, such that their mean is that of the images and their spread is that of groups.

    Images of one group err together, so that chance draws groups. Each has the weight of its images. Where every image
    is a group of its own, these are the values of the images.

    Source: for variances of clusters, Liang and Zeger 1986, Biometrika 73(1).
    """
    _, numbers = np.unique(groups, return_inverse=True)
    sums = np.bincount(numbers, values - values.mean())
    return np.asarray(values.mean() + sums * (len(sums) / len(values)))
