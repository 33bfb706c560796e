"""What a bundle knows of the images that its model was made for: from the store of ingest, for `ssl-pipeline drift`.

The test takes images for independent of each other. A group (a patient, a film, near copies of one picture) lies whole
in one split, so that its images are not; one image of each group is.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.framing import read_framing
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.data.labels import read_labels
from ssl_pipeline.data.store import SplitName, open_split
from ssl_pipeline.embeddings.drift import FEWEST_REFERENCES, MOST, Reference, Rows, judge, reference_of
from ssl_pipeline.runtime import Backbone

__all__ = ["one_of_each", "reference_in"]

_BATCH = 200
"""Training images that are judged: of more, the test would find changes that do not matter."""


def reference_in(store: Path, model: Path) -> Reference | None:
    """Embed training images, for the principal directions, and validation images: one of each group.

    Images of the test stay out of it. What it says `about` itself has `train_p_value`, the p-value of 200 training
    images as a batch: small where `val` comes from elsewhere than `train`, as where it has labelled images alone.

    Args:
        store: The store of ingest.
        model: The backbone that ships.

    Returns:
        The reference; None where there are too few images, or they are no RGB of 8 bits.

    Raises:
        PipelineError: The store is missing or damaged.
    """
    framing = read_framing(store)
    if open_split(store, "train").spec != RGB8:
        return None
    backbone = Backbone(model, provider="cpu")
    about = {
        "model_sha256": backbone.sha256,
        "canvas": framing.canvas,
        "resize": framing.resize,
        "background": list(framing.background),
    }
    training, validation = (_embedded(store, name, backbone) for name in ("train", "val"))
    return reference_of(training, validation, about | {"train_p_value": _p_value(training, validation)})


def _p_value(training: Rows, validation: Rows) -> float | None:
    """Judge training images by a reference whose directions are of others; None: there are too few."""
    reference, batch = reference_of(training[::2], validation, {}), training[1::2][:_BATCH]
    return None if reference is None or len(batch) < FEWEST_REFERENCES else judge(reference, batch).p_value


def one_of_each(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Draw one image of each group, and of those as many as are compared at most.

    Args:
        groups: The number of each image's group, (n,).

    Returns:
        The places of the images that were drawn, in ascending order.
    """
    order = np.random.default_rng(0).permutation(len(groups))
    _, first = np.unique(groups[order], return_index=True)
    return np.sort(order[np.sort(first)[:MOST]])


def _embedded(store: Path, name: SplitName, backbone: Backbone) -> Rows:
    split, drawn = open_split(store, name), one_of_each(read_labels(store, name).groups)
    parts = np.array_split(drawn, max(1, len(drawn) // 256))
    return np.concatenate([backbone(split.images(part)) for part in parts])
