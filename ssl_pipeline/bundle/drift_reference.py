"""What a bundle knows of the images that its model was made for: from the store of ingest, for `ssl-pipeline drift`."""

from pathlib import Path

import numpy as np

from ssl_pipeline.data.framing import read_framing
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.data.store import Split, open_split
from ssl_pipeline.embeddings.drift import MOST, Reference, Rows, reference_of
from ssl_pipeline.runtime import Backbone

__all__ = ["reference_in"]


def reference_in(store: Path, model: Path) -> Reference | None:
    """Embed training images, for the principal directions, and validation images; images of the test stay out of it.

    Args:
        store: The store of ingest.
        model: The backbone that ships.

    Returns:
        The reference; None where there are too few images, or they are no RGB of 8 bits.

    Raises:
        PipelineError: The store is missing or damaged.
    """
    train, val, framing = open_split(store, "train"), open_split(store, "val"), read_framing(store)
    if train.spec != RGB8:
        return None
    backbone = Backbone(model, provider="cpu")
    about = {
        "model_sha256": backbone.sha256,
        "canvas": framing.canvas,
        "resize": framing.resize,
        "background": list(framing.background),
    }
    return reference_of(_embedded(train, backbone), _embedded(val, backbone), about)


def _embedded(split: Split, backbone: Backbone) -> Rows:
    """Embed the images of a split, or as many drawn from it as are compared at most."""
    drawn = np.sort(np.random.default_rng(0).permutation(len(split))[:MOST])
    parts = np.array_split(drawn, max(1, len(drawn) // 256))
    return np.concatenate([backbone(split.images(part)) for part in parts])
