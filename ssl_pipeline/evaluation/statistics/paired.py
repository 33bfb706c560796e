"""Exact intervals and tests for two classifiers on the same images, for cases in which a bootstrap is overconfident.

Two classifiers are told apart by discordant images: those that only one of them classifies correctly. If these are few,
resamples of the images hardly vary, and if there are none, they do not vary at all.
"""

import math

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.statistics.proportions import LEVEL

__all__ = ["difference", "flip_test"]

_CHANCE_BEYOND_BOUND = 0.0025
"""Part of the 2.5% on either side that is reserved for a share of discordant images above the upper bound."""
_GRID_POINTS = 30  # shares of discordant images at which the tail is evaluated


def difference(first: float, second: float, images: float) -> tuple[float, float]:
    """Return an interval for the difference of two paired shares, by inversion of an exact test.

    The interval contains each difference under which a result as large as the observed one and a result as small both
    have a probability of at least 2.5%, for some share of discordant images up to an upper bound of this share. The
    chance that the bound is too low is part of the 2.5%.

    Args:
        first: Share of images that only the first classifier classifies correctly.
        second: Share of images that only the second classifier classifies correctly.
        images: Number of images; an effective number need not be whole, and is rounded down.

    Returns:
        The lower and upper bound, in [-1, 1]; the interval has a width even if no image is discordant.

    Source: Berger and Boos 1994, "P values maximized over a confidence set for the nuisance parameter". Fagerland,
    Lydersen and Laake 2014, "Recommended tests and confidence intervals for paired binomial proportions", compare
    others.
    """
    count = max(1, math.floor(images + 1e-9))
    return _low(first, second, count), -_low(second, first, count)


def _low(first: float, second: float, images: int) -> float:
    """Return the smallest difference at which a result as large as the observed one is not too improbable."""
    from scipy.optimize import brentq
    from scipy.stats import beta, binom

    apart = (first + second) * images
    most = float(beta.isf(_CHANCE_BEYOND_BOUND, apart + 1, images - apart)) if apart < images - 1e-9 else 1.0
    seen = math.floor((first - second) * images + 1e-9)
    counts = np.arange(int(binom.isf(1e-9, images, most)) + 1)
    needed = np.ceil((counts + seen) / 2) - 1

    def excess(supposed: float) -> float:
        shares = np.linspace(max(abs(supposed), 1e-9), most, _GRID_POINTS)[:, None]  # of discordant images
        as_large = binom.sf(needed, counts, (1 + np.clip(supposed / shares, -1, 1)) / 2)
        tails = (binom.pmf(counts, images, shares) * as_large).sum(axis=1)
        return float(tails.max() - ((1 - LEVEL) / 2 - _CHANCE_BEYOND_BOUND))

    return -most if excess(-most) >= 0 else float(brentq(excess, -most, most, xtol=1e-6))


def flip_test(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_], groups: npt.NDArray[np.int64]) -> float:
    """Return the probability that two equally good classifiers differ as much as these, in either direction.

    Args:
        first: Whether the first classifier is right, image by image, (n,) bool.
        second: Whether the second classifier is right, image by image, (n,) bool.
        groups: Group numbers (n,), equal for images of one group.

    Returns:
        The two-sided p-value. If the classifiers are equally good, exchanging them within a group is as likely. If each
        image is its own group, discordant images are tosses of a fair coin, as in McNemar's test.

    Source: Fisher 1935, "The design of experiments", section 21; McNemar 1947, Psychometrika 12(2), in its exact form.
    """
    _, numbers = np.unique(groups, return_inverse=True)
    differences = np.bincount(numbers, first.astype(np.int64) - second).round().astype(np.int64)
    total = int(np.abs(differences).sum())
    chances = np.zeros(2 * total + 1)  # probability of each sum from -total to total
    chances[total] = 1.0
    for size in np.abs(differences[differences != 0]):
        chances = (np.roll(chances, size) + np.roll(chances, -size)) / 2
    sums = np.abs(np.arange(-total, total + 1))
    return min(1.0, float(chances[sums >= abs(differences.sum())].sum()))
