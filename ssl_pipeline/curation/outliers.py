"""Outliers: images whose neighbours are far away.

The score of an image is the distance from its embedding to that of its k-th nearest neighbour, divided by the median of
this distance over all images. Near-duplicates are skipped, because two copies of an odd picture would make each other
look normal.

Source: Ramaswamy, Rastogi and Shim 2000, "Efficient algorithms for mining outliers from large data sets"; Sun et al.
2022 (2204.06507) for embeddings of images.
"""

import numpy as np
import numpy.typing as npt

from ssl_pipeline.curation.neighbourhood import Neighbourhood

__all__ = ["outlier_scores"]

Numbers = npt.NDArray[np.int64]

_NEAREST = 5
"""Rank k of the neighbour: small, so that a handful of similar images is not considered odd, but more than one, to
reduce the influence of luck."""


def outlier_scores(around: Neighbourhood, duplicates: Numbers) -> npt.NDArray[np.float64]:
    """Return the outlier score of each image (n,); 1 for the median image.

    Args:
        around: Neighbours of n images.
        duplicates: Group of near-duplicates of each image (n,); -1 for an image without near-duplicates.
    """
    own = (duplicates[around.ids] == duplicates[:, None]) & (duplicates >= 0)[:, None] & (around.ids >= 0)
    distances = np.sort(np.where(own, np.inf, around.distances), axis=1)
    column = np.clip(np.isfinite(distances).sum(axis=1), 1, _NEAREST) - 1
    found = distances[np.arange(len(distances)), column]
    found = np.where(np.isfinite(found), found, 0.0)  # without neighbours, nothing is known about an image
    middle = float(np.median(found))
    return np.asarray(found / middle) if middle > 0 else np.ones(len(found))
