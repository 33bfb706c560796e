"""Nearest neighbours of each image, outside its own group."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.neighbours import neighbours

__all__ = ["NEIGHBOURS", "Neighbourhood", "look_around"]

NEIGHBOURS = 20
"""Number of neighbours of each image."""
_MAX_GROUP = 100  # bounds the search beyond an image's own group; in larger groups, images may get fewer neighbours

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


class Neighbourhood(NamedTuple):
    """The k nearest neighbours of n images, nearest first; k >= 1.

    Attributes:
        ids: Numbers of the neighbours (n, k); -1 where an image has fewer.
        similarities: Cosines with the neighbours (n, k), in [-1, 1]; NaN where an image has fewer.
    """

    ids: Numbers
    similarities: Features

    @property
    def distances(self) -> npt.NDArray[np.float64]:
        """Euclidean distances to the neighbours (n, k), in [0, 2]; infinite where an image has fewer."""
        squares = np.maximum(2 - 2 * self.similarities.astype(np.float64), 0)
        return np.where(self.ids < 0, np.inf, np.sqrt(squares))


def look_around(embeddings: Features, groups: Numbers) -> Neighbourhood:
    """Find the neighbours of each image outside its own group.

    Frames of a track are similar because they are frames of one track. That is known already, whereas neighbours should
    show what is not known.

    Args:
        embeddings: Unit-norm embeddings (n, D); n >= 1.
        groups: Group numbers (n,), equal for images of one group.
    """
    if len(embeddings) == 1:
        return Neighbourhood(np.full((1, 1), -1), np.full((1, 1), np.nan, np.float32))
    largest = int(np.unique(groups, return_counts=True)[1].max())
    ids, similarities = neighbours(embeddings, NEIGHBOURS + min(largest, _MAX_GROUP) - 1)
    own = groups[ids] == groups[:, None]
    order = np.argsort(own, axis=1, kind="stable")[:, :NEIGHBOURS]
    ids, similarities, own = (np.take_along_axis(found, order, axis=1) for found in (ids, similarities, own))
    return Neighbourhood(np.where(own, -1, ids), np.where(own, np.float32(np.nan), similarities))
