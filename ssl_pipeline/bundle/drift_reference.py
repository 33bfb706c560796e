"""The drift reference of a bundle: `ssl-pipeline drift` compares new images with these images from the store.

The test assumes independent images. Images of one group (a patient, a film, near copies of one picture) are not
independent, and a group lies entirely in one split; therefore one image per group is drawn.
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
"""Number of training images that are judged; with more, the test would detect changes too small to matter."""


def reference_in(store: Path, model: Path) -> Reference | None:
    """Embed one image per group: training images for the principal directions, validation images for the reference.

    Test images are not used. `about` of the reference holds `train_p_value`, the p-value of a batch of 200 training
    images. It is small if `val` and `train` differ in origin, for example because only `train` has unlabelled images.

    Args:
        store: Folder of the store that ingest wrote.
        model: Path of the backbone that ships.

    Returns:
        The reference, or None if there are too few images or if they are not 8-bit RGB.

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
    """Return the p-value of training images, with directions from other training images; None if there are too few."""
    reference, batch = reference_of(training[::2], validation, {}), training[1::2][:_BATCH]
    return None if reference is None or len(batch) < FEWEST_REFERENCES else judge(reference, batch).p_value


def one_of_each(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Draw one image per group, up to the largest number of images that a comparison takes.

    Args:
        groups: Group number of each image, (n,).

    Returns:
        The indices of the drawn images, in ascending order.
    """
    order = np.random.default_rng(0).permutation(len(groups))
    _, first = np.unique(groups[order], return_index=True)
    return np.sort(order[np.sort(first)[:MOST]])


def _embedded(store: Path, name: SplitName, backbone: Backbone) -> Rows:
    split, drawn = open_split(store, name), one_of_each(read_labels(store, name).groups)
    parts = np.array_split(drawn, max(1, len(drawn) // 256))
    return np.concatenate([backbone(split.images(part)) for part in parts])
