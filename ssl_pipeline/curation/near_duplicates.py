"""Near-duplicates: pairs of images whose embeddings are nearer to each other than those of different images.

How near different images come is estimated from the nearest pairs of the same images, in two ways. If all images are
different, the first way finds about one false pair, and the second hardly ever finds one:

- **A gap.** Two images are each other's nearest, and the second nearest of both is far beyond. If images lie evenly
  around an image, in d dimensions, and r_1 and r_2 are the distances to its nearest two, then (r_1 / r_2) ** d is below
  p with the probability p, whatever the density there; p is set to 1 / n. Each image thus sets its own scale:
  photographs of shirts on one carpet lie nearer to each other than any two photographs of streets.
- **Too near anywhere.** Three copies of an image leave no gap. But the number of pairs within a distance r grows as
  r ** D. Extrapolated downwards from the nearest n to 4 n pairs, this number falls to a hundredth of a pair at a
  distance below which no two different images are expected. Even if every image has a copy, the copies are few among so
  many pairs.

Sources: Facco et al. 2017 (1803.06992) for the ratio of the first two distances; Grassberger and Procaccia 1983,
"Measuring the strangeness of strange attractors", for the number of pairs within a distance.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.curation.neighbourhood import Neighbourhood
from ssl_pipeline.data.groups import Groups

__all__ = ["NearDuplicates", "Pair", "find_near_duplicates", "intrinsic_dimension", "least_distance"]

Numbers = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

_ROUNDING = 1e-3
"""Distance below which images are equal: cosines in float32 leave an error of 1e-7 in the square of a distance."""
_LEAST_IMAGES = 30
"""Smallest number of images from which it can be estimated how near different images come."""
_EXPECTED = 0.01  # pairs of different images within `least_distance`; on CIFAR-10, 1 would admit birds in blue skies
_WINDOW = (1, 4)  # range, in pairs per image, from which the growth of the number of pairs is estimated


class Pair(NamedTuple):
    """Two images.

    Attributes:
        first: Number of one image.
        second: Number of the other image, greater than `first`.
        similarity: Cosine of their embeddings.
    """

    first: int
    second: int
    similarity: float


class NearDuplicates(NamedTuple):
    """Near-duplicates among n images.

    Attributes:
        groups: Group of near-duplicates of each image (n,), from 0 in the order of their first images; -1 for an image
            without near-duplicates.
        pairs: Pairs that were found, the most similar first.
        dimension: Intrinsic dimension d of the embeddings around an image.
        distance: Distance below which no two different images are expected.
    """

    groups: Numbers
    pairs: list[Pair]
    dimension: float
    distance: float


def find_near_duplicates(around: Neighbourhood, known: Numbers) -> NearDuplicates:
    """Find near-duplicates, and put them into groups.

    Args:
        around: Neighbours of n images.
        known: Numbers (n,), equal for images that are already known to be near copies; these are added to the groups.
    """
    dimension, distance = intrinsic_dimension(around.distances), least_distance(around)
    alone = _apart(around, dimension) if len(known) >= _LEAST_IMAGES else {}
    pairs = sorted(
        {**alone, **_within(around, distance)}.values(),
        key=lambda pair: (-pair.similarity, pair),
    )
    groups = Groups([[str(number)] for number in known])
    for pair in pairs:
        groups.join(pair.first, pair.second)
    numbers = np.full(len(known), -1, np.int64)
    for number, members in enumerate(members for members in groups.members() if len(members) > 1):
        numbers[members] = number
    return NearDuplicates(numbers, pairs, dimension, distance)


def intrinsic_dimension(distances: Float64) -> float:
    """Return d such that the median of (r_h / r_m) ** d is 1/2, which holds in d dimensions for even m and h = m / 2.

    A few copies among the m neighbours make no difference.

    Args:
        distances: Distances of each image to its neighbours (n, m), ascending; rows with an infinite distance are
            ignored.

    Returns:
        Intrinsic dimension, at least 1; 1 if all rows are ignored.
    """
    most = 2 * (distances.shape[1] // 2)
    whole = np.maximum(distances[np.isfinite(distances).all(axis=1)], _ROUNDING)
    if most < 2 or not len(whole):
        return 1.0
    spread = float(np.median(np.log(whole[:, most - 1] / whole[:, most // 2 - 1])))
    return max(1.0, float(np.log(2)) / spread) if spread > 0 else 1.0


def least_distance(around: Neighbourhood) -> float:
    """Return the distance below which no two different images are expected; 0 if it cannot be estimated."""
    count, ordered = len(around.ids), np.sort(_pairs(around)[2])
    few, many = (times * count for times in _WINDOW)
    if count < _LEAST_IMAGES or len(ordered) < many:
        return 0.0
    near, far = np.maximum(ordered[[few - 1, many - 1]], _ROUNDING)
    growth = np.log(far / near) / np.log(many / few)  # 1 / D
    return float(near * (_EXPECTED / few) ** float(growth))


def _apart(around: Neighbourhood, dimension: float) -> dict[tuple[int, int], Pair]:
    """Return the pairs of images that are each other's nearest, with a gap behind them."""
    if around.ids.shape[1] < 2:
        return {}
    ids, distances = around.ids[:, 0], np.maximum(around.distances, _ROUNDING)
    level = len(ids) ** (-1 / dimension)
    alone = np.isfinite(distances[:, 1]) & (distances[:, 0] < level * distances[:, 1])
    mutual = alone & alone[ids] & (ids[ids] == np.arange(len(ids))) & (ids > np.arange(len(ids)))
    found = np.flatnonzero(mutual)
    return _as_pairs(found, ids[found], around.similarities[found, 0])


def _within(around: Neighbourhood, distance: float) -> dict[tuple[int, int], Pair]:
    """Return the pairs that are nearer than a distance."""
    first, second, distances = _pairs(around)
    near = distances < distance
    similarities = 1 - np.square(distances[near]) / 2
    return _as_pairs(first[near], second[near], similarities)


def _as_pairs(first: Numbers, second: Numbers, similarities: npt.NDArray[Any]) -> dict[tuple[int, int], Pair]:
    lines = zip(first.tolist(), second.tolist(), similarities.tolist(), strict=True)
    return {(one, other): Pair(one, other, similarity) for one, other, similarity in lines}


def _pairs(around: Neighbourhood) -> tuple[Numbers, Numbers, Float64]:
    """Return the pairs of images one of which is a neighbour of the other, each pair once, and their distances."""
    count, columns = around.ids.shape
    own = np.repeat(np.arange(count), columns)
    other, distances = around.ids.ravel(), around.distances.ravel()
    own, other, distances = own[other >= 0], other[other >= 0], distances[other >= 0]
    first, second = np.minimum(own, other), np.maximum(own, other)
    _, places = np.unique(first * count + second, return_index=True)
    return first[places], second[places], distances[places]
