"""Two classifiers on the same images: exact answers, for where a bootstrap is too sure of itself.

What tells two classifiers apart are the images that one of them alone has right. Where these are few, resamples of the
images hold hardly any other answer than that of the images themselves, and none at all where there are none.
"""

import math

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.statistics.proportions import LEVEL

__all__ = ["difference", "flip_test"]

_CHANCE_BEYOND_BOUND = 0.0025
"""The part of the 2.5% on either side that is kept for more images telling the two apart than are allowed for."""
_GRID_POINTS = 30  # shares of such images at which the tail is looked at


def difference(first: float, second: float, images: float) -> tuple[float, float]:
    """Return an interval of the difference of two paired shares, by inversion of an exact test.

    A difference is in the interval unless one as large as was seen, or as small, has a probability of less than 2.5%
    whatever the share of images that tell the two apart, within an upper bound of this share. The chance that the bound
    is too low is part of the 2.5%.

    Args:
        first: Share of images that the first classifier alone has right.
        second: Share of those that the second one alone has right.
        images: Number of images; an effective one need not be whole, and is rounded down.

    Returns:
        Low and high, in [-1, 1]; with a width even where no image tells the two apart.

    Source: Berger and Boos 1994, "P values maximized over a confidence set for the nuisance parameter". Fagerland,
    Lydersen and Laake 2014, "Recommended tests and confidence intervals for paired binomial proportions", compare
    others.
    """
    count = max(1, math.floor(images + 1e-9))
    return _low(first, second, count), -_low(second, first, count)


def _low(first: float, second: float, images: int) -> float:
    """Return the least difference at which one as large as was seen is not too improbable."""
    from scipy.optimize import brentq
    from scipy.stats import beta, binom

    apart = (first + second) * images
    most = float(beta.isf(_CHANCE_BEYOND_BOUND, apart + 1, images - apart)) if apart < images - 1e-9 else 1.0
    seen = math.floor((first - second) * images + 1e-9)
    counts = np.arange(int(binom.isf(1e-9, images, most)) + 1)
    needed = np.ceil((counts + seen) / 2) - 1

    def excess(supposed: float) -> float:
        shares = np.linspace(max(abs(supposed), 1e-9), most, _GRID_POINTS)[:, None]  # of images that tell the two apart
        as_large = binom.sf(needed, counts, (1 + np.clip(supposed / shares, -1, 1)) / 2)
        tails = (binom.pmf(counts, images, shares) * as_large).sum(axis=1)
        return float(tails.max() - ((1 - LEVEL) / 2 - _CHANCE_BEYOND_BOUND))

    return -most if excess(-most) >= 0 else float(brentq(excess, -most, most, xtol=1e-6))


def flip_test(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]) -> float:
    """Return how likely two classifiers that are equally good differ as much as these, in either direction.

    Args:
        first: (n,) bool, whether one classifier is right, image by image.
        second: (n,) bool, whether the other classifier is.
        groups: (n,) numbers, equal for images of one group.

    Returns:
        The two-sided p-value: were the two equally good, each group might as well have come out the other way round.
        Where each image is a group, those that one of the two alone has right are fair coins, as in McNemar's test.

    Source: Fisher 1935, "The design of experiments", section 21; McNemar 1947, Psychometrika 12(2), in its exact form.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    differences = np.bincount(numbers, first.astype(np.int64) - second).round().astype(np.int64)
    total = int(np.abs(differences).sum())
    chances = np.zeros(2 * total + 1)  # of each sum, from -total to total
    chances[total] = 1.0
    for size in np.abs(differences[differences != 0]):
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    sums = np.abs(np.arange(-total, total + 1))
    return min(1.0, float(chances[sums >= abs(differences.sum())].sum()))
