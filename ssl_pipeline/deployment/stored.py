"""Embeddings of stored images, computed by the exported file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.store import Split, images_at
from ssl_pipeline.deployment.execution import Provider
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.neighbours import unit
from ssl_pipeline.products import verified
from ssl_pipeline.progress import track

__all__ = ["embed_stored"]

_PIXELS_AT_A_TIME, _IMAGES_AT_A_TIME = 4_000_000, 256
"""Bounds of a batch; the bound on pixels keeps large images from filling the memory."""


def embed_stored(
    backbone: Path, splits: Sequence[Split], positions: npt.NDArray[np.int64], provider: Provider = "auto"
) -> npt.NDArray[np.float32]:
    """Return embeddings (m, D) of unit length.

    Args:
        backbone: Path of the exported file.
        splits: Splits of one store.
        positions: Positions (m,) of at least one image in the concatenated splits.
        provider: Execution provider of onnxruntime; see `open_session`.

    Raises:
        PipelineError: The file is missing, damaged or cannot be run, or the store is damaged.
    """
    session = open_session(verified(backbone, "export"), provider=provider)
    step = int(np.clip(_PIXELS_AT_A_TIME // splits[0].canvas ** 2, 1, _IMAGES_AT_A_TIME))
    starts = range(0, len(positions), step)
    parts = (run(session, images_at(splits, positions[start : start + step])) for start in starts)
    return unit(np.concatenate(list(track(parts, "embeddings", total=len(starts)))))
