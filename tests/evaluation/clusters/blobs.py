"""Unit embeddings around distant centres, so that the expected clusters are known."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.features import unit

Array = npt.NDArray[np.float32]


def blobs(
    centres: Sequence[int], each: int = 40, noise: float = 0.05, dim: int = 32, coarse: Sequence[int] = ()
) -> tuple[Array, Array, npt.NDArray[np.int64]]:
    """Return embeddings (n, D), embeddings of second views (n, D), and groups (n,) of one image each.

    Args:
        centres: Axes; `each` embeddings lie around the unit vector of each axis.
        each: Number of embeddings per centre.
        noise: Standard deviation along each axis, before embeddings are scaled to unit length.
        dim: Dimension D of the embeddings.
        coarse: A further axis for each centre, shared with its neighbours, so that a coarser cut is stable, too.
    """
    generator = np.random.default_rng(0)
    axes = np.eye(dim)
    means = np.repeat(axes[list(centres)] + (axes[list(coarse)] if coarse else 0), each, axis=0)
    first = means + noise * generator.normal(size=means.shape)
    second = first + noise * generator.normal(size=means.shape)
    return unit(first.astype(np.float32)), unit(second.astype(np.float32)), np.arange(len(means))
