"""Unit embeddings drawn about far-apart centres, so that what clusters should come out is known."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.features import unit

Array = npt.NDArray[np.float32]


def blobs(centres: Sequence[int], each: int = 40, noise: float = 0.05, dim: int = 32) -> tuple[Array, Array]:
    """Embeddings (n, D) and those of second views, `each` about each of the given unit vectors of the axes."""
    generator = np.random.default_rng(0)
    means = np.repeat(np.eye(dim)[list(centres)], each, axis=0)
    first = means + noise * generator.normal(size=means.shape)
    second = first + noise * generator.normal(size=means.shape)
    return unit(first.astype(np.float32)), unit(second.astype(np.float32))
