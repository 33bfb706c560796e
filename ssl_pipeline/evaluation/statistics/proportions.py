"""Intervals of a share of images, such as an accuracy, that hold near 0 and 1 and where images come in groups.

Frames of a track or images of a patient are right or wrong together, so that a hundred of them say less than a hundred
images that have nothing to do with each other. How much less is the **effective number of images**: as many independent
ones as would leave the share as uncertain. With it in the place of n, Wilson's interval has a width even where all
images are right, which that of a bootstrap has not.

Sources: Wilson 1927, "Probable inference, the law of succession, and statistical inference"; Kish 1965, "Survey
sampling", for the design effect; Korn and Graubard 1998, "Confidence intervals for proportions with small expected
number of positive counts estimated from survey data", for the effective number with Student's t in it; Dean and Pagano
2015, "Evaluating confidence interval methods for binomial proportions in clustered surveys", for Wilson's interval with
such a number.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["LEVEL", "effective_images", "kish", "wilson"]

Labels = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

LEVEL = 0.95
"""The confidence level of all intervals."""


def wilson(share: float, images: float) -> tuple[float, float]:
    """Return Wilson's score interval.

    Args:
        share: Share of successes, in [0, 1].
        images: Number of images, effective and hence not always whole; more than 0.
    """
    from scipy.stats import norm

    z = float(norm.isf((1 - LEVEL) / 2))
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * np.sqrt(share * (1 - share) / images + (z / (2 * images)) ** 2)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def kish(weights: Float64 | Labels, strata: Labels | None = None) -> Float64:
    """Return how many equal groups of each stratum would leave its mean as uncertain as these unequal ones.

    Args:
        weights: (G,) weights of the groups, such as their numbers of images.
        strata: (G,) numbers of their strata, from 0; None: there is one.

    Returns:
        (S,) from 1 to the number of the stratum's groups.

    Source: Kish 1965, "Survey sampling".
    """
    strata = np.zeros(len(weights), np.int64) if strata is None else strata
    return np.bincount(strata, weights) ** 2 / np.bincount(strata, weights.astype(np.float64) ** 2)


def effective_images(values: Float64, strata: Labels, groups: Labels) -> float:
    """Return how many independent images would leave the mean of the strata's means as uncertain as these do.

    The variance of a stratum's mean is that of its values, times (1 - r) / n + r / K: r is the correlation within a
    group, estimated from how much the values differ there (Fleiss and Cuzick 1979), and K the number of groups, less
    where some are larger than others (Kish). How well that is known depends on how many groups deviate: where a few do,
    Student's t with few degrees of freedom takes the place of the normal distribution, and where none does, groups
    count as one image each.

    Args:
        values: (n,) scores of the images: 1 for one that is right and 0 for another, or differences of such.
        strata: (n,) numbers of the strata whose means are averaged: all alike, or the classes.
        groups: (n,) numbers, equal for images of one group.

    Returns:
        From 1 to n, and n where each image is a group and each stratum has as many.
    """
    from scipy.stats import norm, t

    _, strata, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    _, groups = np.unique(groups, return_inverse=True)
    each = 1 / (len(sizes) * sizes[strata])  # what an image counts
    equal, within, parts = _groups(values, strata, groups)
    fewest = min(len(sizes) * equal.min(), kish(np.bincount(groups, each))[0])
    means = np.bincount(strata, values) / sizes
    deviations = np.bincount(groups, each * (values - means[strata]))
    if np.abs(deviations).max() < 1e-12:
        return float(fewest)
    variances = np.bincount(strata, (values - means[strata]) ** 2) / sizes
    chance = ((sizes - parts) * variances).sum()
    correlation = min(max(1 - within / chance, 0.0), 1.0) if chance > 0 else 1.0
    overall = (each * values**2).sum() - (each * values).sum() ** 2
    factors = (1 - correlation) / sizes + correlation / equal
    known = factors < 1  # of a single image or group nobody knows how it might have been otherwise
    of_means = np.where(known, variances * factors / np.where(known, 1 - factors, 1.0), overall)
    freedom = (deviations**2).sum() ** 2 / (deviations**4).sum()
    penalty = (norm.isf((1 - LEVEL) / 2) / t.isf((1 - LEVEL) / 2, freedom)) ** 2
    return float(np.clip(overall / of_means.sum() * len(sizes) ** 2 * penalty, fewest, len(values)))


def _groups(values: Float64, strata: Labels, groups: Labels) -> tuple[Float64, float, Labels]:
    """Return Kish's number of groups, the squares' sum within groups, and the number of groups of each stratum (S,)."""
    _, first, numbers, sizes = np.unique(
        strata * (groups.max() + 1) + groups, return_index=True, return_inverse=True, return_counts=True
    )
    means = np.bincount(numbers, values) / sizes
    within = float(((values - means[numbers]) ** 2).sum())
    owners = strata[first]
    return kish(sizes, owners), within, np.bincount(owners)
