"""Intervals for a share of images, such as an accuracy, that hold near 0 and 1 and for images that come in groups.

Frames of a track or images of a patient tend to be right or wrong together, so that a hundred of them carry less
information than a hundred unrelated images. The **effective number of images** measures how much less: it is the number
of independent images that would leave the share as uncertain. With this number in place of n, Wilson's interval has a
width even if all images are right, unlike a bootstrap interval.

Sources: Wilson 1927, "Probable inference, the law of succession, and statistical inference"; Kish 1965, "Survey
sampling", for the design effect; Korn and Graubard 1998, "Confidence intervals for proportions with small expected
number of positive counts estimated from survey data", for the effective number with Student's t in it; Dean and Pagano
2015, "Evaluating confidence interval methods for binomial proportions in clustered surveys", for Wilson's interval with
such a number.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["LEVEL", "above_chance", "effective_images", "kish", "wilson"]

Labels = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

LEVEL = 0.95
"""Confidence level of all intervals."""
CHANCE_LEVEL = 0.01
"""Level of the test against chance; it is strict because several shares are tested side by side."""


def wilson(share: float, images: float) -> tuple[float, float]:
    """Return Wilson's score interval.

    Args:
        share: Share of successes, in [0, 1].
        images: Effective number of images, greater than 0 and not necessarily whole.
    """
    from scipy.stats import norm

    z = float(norm.isf((1 - LEVEL) / 2))
    centre = (share + z**2 / (2 * images)) / (1 + z**2 / images)
    half = z / (1 + z**2 / images) * np.sqrt(share * (1 - share) / images + (z / (2 * images)) ** 2)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def above_chance(share: float, chance: float, images: int) -> bool:
    """Return whether a share of right answers is higher than chance, by a one-sided exact binomial test.

    Args:
        share: Share of the images with a right answer, in [0, 1].
        chance: Share that guessing is expected to reach, in [0, 1].
        images: Number of images, which are treated as independent.
    """
    from scipy.stats import binom

    return bool(binom.sf(round(share * images) - 1, images, chance) < CHANCE_LEVEL)


def kish(weights: Float64 | Labels, strata: Labels | None = None) -> Float64:
    """Return the number of equal groups per stratum that would leave its mean as uncertain as these unequal groups.

    Args:
        weights: Weights of the groups (G,), such as their numbers of images.
        strata: Stratum of each group (G,), from 0; None if there is only one.

    Returns:
        Effective numbers of groups (S,), from 1 to the number of groups in the stratum.

    Source: Kish 1965, "Survey sampling".
    """
    strata = np.zeros(len(weights), np.int64) if strata is None else strata
    return np.bincount(strata, weights) ** 2 / np.bincount(strata, weights.astype(np.float64) ** 2)


def effective_images(values: Float64, strata: Labels, groups: Labels) -> float:
    """Return the number of independent images that would leave the mean of the strata's means as uncertain.

    The variance of a stratum's mean is the variance of its values times (1 - r) / n + r / K. Here r is the correlation
    within a group, estimated from the spread of values in groups (Fleiss and Cuzick 1979), and K is the number of
    groups, reduced if they differ in size (Kish). The certainty of this variance depends on how many groups deviate
    from the mean: if only a few do, Student's t with few degrees of freedom replaces the normal distribution, and if
    none does, each group counts as one image.

    Args:
        values: Scores of the images (n,): 1 if right and 0 if wrong, or differences of such scores.
        strata: Stratum of each image (n,), whose means are averaged: all equal, or the classes.
        groups: Group numbers (n,), equal for images of one group.

    Returns:
        A number from 1 to n; n if each image is its own group and all strata have the same size.
    """
    from scipy.stats import norm, t

    _, strata, sizes = np.unique(strata, return_inverse=True, return_counts=True)
    _, groups = np.unique(groups, return_inverse=True)
    each = 1 / (len(sizes) * sizes[strata])  # weight of an image
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
    known = factors < 1  # a single image or group does not show how it might have varied
    of_means = np.where(known, variances * factors / np.where(known, 1 - factors, 1.0), overall)
    freedom = (deviations**2).sum() ** 2 / (deviations**4).sum()
    penalty = (norm.isf((1 - LEVEL) / 2) / t.isf((1 - LEVEL) / 2, freedom)) ** 2
    return float(np.clip(overall / of_means.sum() * len(sizes) ** 2 * penalty, fewest, len(values)))


def _groups(values: Float64, strata: Labels, groups: Labels) -> tuple[Float64, float, Labels]:
    """Return Kish's number of groups per stratum (S,), the squares' sum within groups, and groups per stratum (S,)."""
    _, first, numbers, sizes = np.unique(
        strata * (groups.max() + 1) + groups, return_index=True, return_inverse=True, return_counts=True
    )
    means = np.bincount(numbers, values) / sizes
    within = float(((values - means[numbers]) ** 2).sum())
    owners = strata[first]
    return kish(sizes, owners), within, np.bincount(owners)
