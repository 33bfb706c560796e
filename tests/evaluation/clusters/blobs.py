"""Unit embeddings drawn about far-apart centres, so that what clusters should come out is known."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.features import unit

Array = npt.NDArray[np.float32]


def blobs(
    centres: Sequence[int], each: int = 40, noise: float = 0.05, dim: int = 32, coarse: Sequence[int] = ()
) -> tuple[Array, Array, npt.NDArray[np.int64]]:
    """Embeddings (n, D), those of second views, and groups of one image each.

    Args:
        centres: Axes, `each` embeddings about the unit vector of each.
        each: How many.
        noise: Standard deviation along each axis, before all get unit length.
        dim: D.
        coarse: For each centre another axis that it shares with its neighbours, so that a coarser cut is stable, too.
    """
    generator = np.random.default_rng(0)
    axes = np.eye(dim)
    means = np.repeat(axes[list(centres)] + (axes[list(coarse)] if coarse else 0), each, axis=0)
    first = means + noise * generator.normal(size=means.shape)
    second = first + noise * generator.normal(size=means.shape)
    return unit(first.astype(np.float32)), unit(second.astype(np.float32)), np.arange(len(means))
