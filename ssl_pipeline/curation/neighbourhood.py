"""Each image's nearest neighbours among the images that are not known to belong to it."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.neighbours import neighbours

__all__ = ["NEIGHBOURS", "Neighbourhood", "look_around"]

NEIGHBOURS = 20
"""Neighbours that are looked at."""
_MAX_GROUP = 100  # images of a group that are passed over, at most; further ones count as neighbours

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


class Neighbourhood(NamedTuple):
    """Neighbours (n, k) of each image, the nearest first; at least one column.

    Attributes:
        ids: Their numbers; -1 where there are no more.
        similarities: Cosines to them, from -1 to 1; NaN where there are no more.
    """

    ids: Numbers
    similarities: Features

    @property
    def distances(self) -> npt.NDArray[np.float64]:
        """Euclidean distances (n, k) of the embeddings, from 0 to 2; infinite where there are no more."""
        squares = np.maximum(2 - 2 * self.similarities.astype(np.float64), 0)
        return np.where(self.ids < 0, np.inf, np.sqrt(squares))


def look_around(embeddings: Features, groups: Numbers) -> Neighbourhood:
    """Find the neighbours of each image outside its own group.

    Frames of a track are alike because they are frames of a track, which is known: what is looked for among neighbours
    is what is not.

    Args:
        embeddings: (n, D) embeddings of unit length, n >= 1.
        groups: (n,) numbers, equal for images of one group.
    """
    if len(embeddings) == 1:
        return Neighbourhood(np.full((1, 1), -1), np.full((1, 1), np.nan, np.float32))
    largest = int(np.unique(groups, return_counts=True)[1].max())
    ids, similarities = neighbours(embeddings, NEIGHBOURS + min(largest, _MAX_GROUP) - 1)
    own = groups[ids] == groups[:, None]
    order = np.argsort(own, axis=1, kind="stable")[:, :NEIGHBOURS]
    ids, similarities, own = (np.take_along_axis(found, order, axis=1) for found in (ids, similarities, own))
    return Neighbourhood(np.where(own, -1, ids), np.where(own, np.float32(np.nan), similarities))
