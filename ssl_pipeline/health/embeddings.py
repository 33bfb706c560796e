"""Five measures, none of which needs labels, of how embeddings spread out: they show whether an encoder collapses.

All are computed in float64, and no n x n matrix is ever held in memory. Embeddings are (n, D) arrays of any float type.
A value that is not finite makes the result NaN.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["alignment", "effective_rank", "embedding_std", "uniformity", "unit", "view_recall", "views_found"]

Array = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]

_TILE_ROWS = 1024  # rows; 1024 x 1024 float64 are 8 MB


def unit(z: Array) -> Float64:
    """Return the rows scaled to length 1; a row of zeros remains zero."""
    rows: Float64 = z.astype(np.float64)
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return np.asarray(rows / lengths)


def embedding_std(z: Array) -> float:
    """Return the standard deviation of unit embeddings per dimension, averaged over the D dimensions, times sqrt(D).

    Args:
        z: Embeddings (n, D), n >= 1.

    Returns:
        In [0, 1]: 0 if all embeddings point the same way, 1 if they spread evenly about the origin in all dimensions.

    Source: Chen and He 2021 (2011.10566), section 4.1, where the std is compared with 1 / sqrt(D).
    """
    return float(unit(z).std(axis=0).mean() * np.sqrt(z.shape[1]))


def effective_rank(z: Array) -> float:
    """Return RankMe, the exponential of the entropy of the normalised singular values of z, without centring z.

    Args:
        z: Embeddings (n, D).

    Returns:
        In [1, min(n, D)], up to the paper's epsilon (about 1e-4); 0 if z is all zeros.

    Source: Garrido et al. 2023 (2210.02885), equations 1 and 2: p_k = s_k / sum(s) + 1e-7, exp(-sum(p_k log p_k)).
    """
    triangle = np.empty((0, z.shape[1]))
    for start in range(0, len(z), _TILE_ROWS):  # R of a tiled QR decomposition has the singular values of z
        tile: Float64 = np.concatenate([triangle, z[start : start + _TILE_ROWS].astype(np.float64)])
        triangle = np.linalg.qr(tile).R
    if not np.isfinite(triangle).all():
        return float("nan")
    singular = np.linalg.svd(triangle, compute_uv=False)
    if not singular.any():
        return 0.0
    shares = singular / singular.sum() + 1e-7
    return float(np.exp(-(shares * np.log(shares)).sum()))


def uniformity(z: Array) -> float:
    """Return the logarithm of the mean of exp(-2 d^2) over all pairs of unit embeddings, where d is their distance.

    Args:
        z: Embeddings (n, D), n >= 2. The time grows with n^2; a few thousand embeddings are enough.

    Returns:
        In [-8, 0]: 0 if all embeddings point the same way; near -4 if they spread evenly over a sphere of many
        dimensions.

    Raises:
        ValueError: There are fewer than 2 embeddings.

    Source: Wang and Isola 2020 (2005.10242), section 4.1.2, with t = 2.
    """
    if len(z) < 2:
        raise ValueError(f"uniformity needs at least 2 embeddings, got {len(z)}")
    rows = unit(z)
    total = 0.0
    for start in range(0, len(rows), _TILE_ROWS):
        tile = rows[start : start + _TILE_ROWS]
        for other in range(start, len(rows), _TILE_ROWS):
            squared = np.maximum(2.0 - 2.0 * tile @ rows[other : other + _TILE_ROWS].T, 0.0)
            kernel = np.exp(-2.0 * squared)
            total += float(np.triu(kernel, 1).sum() if other == start else kernel.sum())
    return float(np.log(total / (len(rows) * (len(rows) - 1) / 2)))


def alignment(z1: Array, z2: Array) -> float:
    """Return the mean squared distance between the unit embeddings of positive pairs.

    Args:
        z1: Embeddings (n, D), n >= 1.
        z2: Embeddings (n, D) of the same samples, in the same order.

    Returns:
        In [0, 4]: 0 if both embeddings of every pair point the same way.

    Source: Wang and Isola 2020 (2005.10242), section 4.1.1, with alpha = 2.
    """
    return float(((unit(z1) - unit(z2)) ** 2).sum(axis=1).mean())


def views_found(z1: Array, z2: Array) -> Float64:
    """Return the share of each sample's two views that retrieve each other: top-1 by cosine, in both directions.

    Args:
        z1: Embeddings (n, D), n >= 1.
        z2: Embeddings (n, D) of other views of the same samples, in the same order.

    Returns:
        (n,) values 0, 0.5 or 1. A view is found if the other view of its sample is nearer to it than the views of all
        other samples. A tie counts as not found, so identical embeddings give 0.
    """
    first, second = unit(z1), unit(z2)
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        return np.full(len(first), np.nan)
    found = np.zeros(len(first))
    for asked, others in ((first, second), (second, first)):
        for start in range(0, len(asked), _TILE_ROWS):
            cosines = asked[start : start + _TILE_ROWS] @ others.T
            rows = np.arange(len(cosines))
            own = cosines[rows, start + rows]
            cosines[rows, start + rows] = -np.inf
            found[start + rows] += (own > cosines.max(axis=1)) / 2
    return found


def view_recall(z1: Array, z2: Array) -> float:
    """Return recall@1: the share of views that are found by the other view of their sample; see `views_found`.

    Args:
        z1: Embeddings (n, D), n >= 1.
        z2: Embeddings (n, D) of other views of the same samples, in the same order.

    Returns:
        In [0, 1].
    """
    return float(views_found(z1, z2).mean())
