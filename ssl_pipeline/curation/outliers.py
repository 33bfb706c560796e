"""Odd ones out: images whose neighbours are far away.

The score of an image is the distance of its embedding to that of its k-th nearest neighbour, as a multiple of what that
is for the median image. Near-duplicates are passed over: two copies of an odd picture would vouch for each other.

Source: Ramaswamy, Rastogi and Shim 2000, "Efficient algorithms for mining outliers from large data sets"; Sun et al.
2022 (2204.06507) for embeddings of images.
"""

import numpy as np
import numpy.typing as npt

from ssl_pipeline.curation.neighbourhood import Neighbourhood

__all__ = ["outlier_scores"]

Numbers = npt.NDArray[np.int64]

_NEAREST = 5
"""k; few, so that a handful of images that are alike are not taken for odd, and more than one, for luck."""


def outlier_scores(around: Neighbourhood, duplicates: Numbers) -> npt.NDArray[np.float64]:
    """Return how odd each image is: (n,), 1 for the median image.

    Args:
        around: The neighbours of n images.
        duplicates: (n,) numbers of groups of near-duplicates; -1 for an image that has none.
    """
    own = (duplicates[around.ids] == duplicates[:, None]) & (duplicates >= 0)[:, None] & (around.ids >= 0)
    distances = np.sort(np.where(own, np.inf, around.distances), axis=1)
    column = np.clip(np.isfinite(distances).sum(axis=1), 1, _NEAREST) - 1
    found = distances[np.arange(len(distances)), column]
    found = np.where(np.isfinite(found), found, 0.0)  # nothing is known of an image without neighbours
    middle = float(np.median(found))
    return np.asarray(found / middle) if middle > 0 else np.ones(len(found))
