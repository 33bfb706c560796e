"""Distances of unit vectors as functions of their cosine."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

__all__ = ["DISTANCES", "Distance"]


class Distance(NamedTuple):
    """A distance of unit vectors.

    Attributes:
        of_cosine: Function from cosines to distances of the same shape.
        largest: Distance of opposite vectors.
    """

    of_cosine: Callable[[Tensor], Tensor]
    largest: float


DISTANCES = {
    "squared_euclidean": Distance(lambda cosine: 2 - 2 * cosine, 4.0),
    "cosine": Distance(lambda cosine: 1 - cosine, 2.0),
}
"""The distances by name: |x - y|² = 2 - 2 cos, and 1 - cos."""
