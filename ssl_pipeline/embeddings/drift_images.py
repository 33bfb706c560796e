"""Embeddings of images for the drift test, from canvases made as in ingest, like those of the reference."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ssl_pipeline.data.decode import to_canvas
from ssl_pipeline.data.image_spec import RGB8, Pixels
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.embeddings.drift import NAME, Reference, Rows
from ssl_pipeline.embeddings.inputs import Inputs
from ssl_pipeline.embeddings.reading import canvas_of, read_all
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.runtime import Backbone
from ssl_pipeline.terminal import shown

__all__ = ["Batch", "embed_batch", "reference_for"]

_AT_A_TIME = 256


@dataclass
class Batch:
    """Images of a batch that can be tested.

    Attributes:
        paths: Path of each image.
        embeddings: Embeddings (n, D), in the same order.
        copies: Number of exact copies that were left out, because the test assumes independent images.
        rejected: Path and reason of each unusable file.
    """

    paths: list[str] = field(default_factory=list)
    embeddings: Rows = field(default_factory=lambda: np.empty((0, 0), np.float32))
    copies: int = 0
    rejected: list[tuple[str, str]] = field(default_factory=list)


def reference_for(bundle: Path, backbone: Backbone) -> Reference:
    """Read the reference of a bundle.

    Raises:
        PipelineError: The reference is missing, damaged, or belongs to another model.
    """
    reference = Reference.read(bundle / NAME)
    if reference.about.get("model_sha256") != backbone.sha256 or backbone.images != RGB8:
        raise PipelineError(
            f"{shown(str(bundle / NAME), 200)} does not belong to {shown(str(backbone.path), 200)}: copy the whole "
            "bundle again."
        )
    return reference


def embed_batch(inputs: Inputs, backbone: Backbone, about: dict[str, Any], workers: int) -> Batch:
    """Read all images, fit them to canvases and embed them, in bounded memory.

    Args:
        inputs: Images to embed.
        backbone: Model that embeds them.
        about: Settings of the canvases: `canvas`, `resize` and `background`.
        workers: Largest number of decoding processes.
    """
    batch, seen, parts = Batch(rejected=[(path, str(why)) for path, why in inputs.rejects.items()]), set[str](), []
    waiting: list[Pixels] = []
    canvas = canvas_of(backbone.images, backbone.metadata)
    for path, picture in zip(_paths(inputs), read_all(inputs, 0, len(inputs), canvas, RGB8, workers), strict=True):
        if isinstance(picture, RejectedError):
            batch.rejected.append((path, str(picture)))
            continue
        if picture.sha256 in seen:
            batch.copies += 1
            continue
        seen.add(picture.sha256)
        batch.paths.append(path)
        image = Image.fromarray(picture.pixels)
        fitted = to_canvas(image, about["canvas"], about["resize"], tuple(about["background"]))
        waiting.append(np.asarray(fitted))
        if len(waiting) == _AT_A_TIME:
            parts.append(backbone(waiting))
            waiting = []
    batch.embeddings = np.concatenate([*parts, backbone(waiting)])
    return batch


def _paths(inputs: Inputs) -> Iterator[str]:
    return (place.prefix + name for place in inputs.places for name in place.names)
