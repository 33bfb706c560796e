"""Embeddings of images, from an exported file alone. This module imports no torch."""

import itertools
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from PIL import Image

from ssl_pipeline.data.agreement import PixelsChoice
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.deployment.runtime import images_of, open_session, read_metadata, run
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.library.images import ImageLike, read_image
from ssl_pipeline.terminal import shown

__all__ = ["embed"]

_MAX_MEGAPIXELS = 500.0  # larger images are refused by their header: a small file can claim any size


def embed(
    model: str | os.PathLike[str], images: ImageLike | Iterable[ImageLike], *, batch_size: int = 64
) -> npt.NDArray[np.float32]:
    """Embed images by an exported backbone, as they were read in training.

    It needs onnxruntime, numpy and Pillow, and imports no torch. Resizing and normalising are in the file.

    Args:
        model: The path of `backbone.onnx`.
        images: Paths, images of Pillow, and arrays uint8 (H, W, C) of any sizes, mixed as you like, or an array of
            images (N, H, W, C); one image alone, too. A model of other images than 8-bit RGB takes arrays of its own
            channels and type.
        batch_size: The most images in memory at a time; those of one size are embedded together.

    Returns:
        (N, D) float32, a row for each image; of unit length unless `export.l2_normalize` was off.

    Raises:
        PipelineError: The model is missing or is no backbone, or an image cannot be used; the message says which.

    Examples:
        >>> import ssl_pipeline
        >>> ssl_pipeline.embed("backbone.onnx", ["cat.jpg", "dog.png"]).shape  # doctest: +SKIP
        (2, 256)
    """
    if batch_size < 1:
        raise PipelineError(f"batch_size must be at least 1, got {batch_size}.")
    session = open_session(Path(model))
    metadata = read_metadata(session)
    _check(session, model)
    spec, canvas = images_of(metadata), _canvas(metadata)
    found, numbered = [], enumerate(_each(images))
    while block := list(itertools.islice(numbered, batch_size)):
        found.append(_by_shape(session, [_pixels(image, canvas, spec, number) for number, image in block]))
    return np.concatenate(found) if found else run(session, np.empty((0, 1, 1, spec.channels), spec.numpy_dtype))


def _check(session: onnxruntime.InferenceSession, model: object) -> None:
    """Refuse a graph that does not lead from images to embeddings."""
    inputs, outputs = ([node.name for node in nodes()] for nodes in (session.get_inputs, session.get_outputs))
    if inputs != ["images"] or outputs != ["embedding"]:
        raise PipelineError(
            f"{shown(str(model), 200)} leads from {shown(', '.join(inputs), 100)} to {shown(', '.join(outputs), 100)}, "
            "and embed takes a file that leads from images to embedding: name a backbone.onnx of this pipeline."
        )


def _canvas(metadata: dict[str, str]) -> Canvas:
    """Return how images of a model are read."""
    kept = PixelsChoice(name="rgb8" if images_of(metadata) == RGB8 else "as_is")
    background = tuple(json.loads(metadata["background"])) if kept.name == "rgb8" else (0, 0, 0)  # of RGB alone
    return Canvas(int(metadata["size"]), "squash", background, 1, _MAX_MEGAPIXELS, kept)


def _each(images: ImageLike | Iterable[ImageLike]) -> Iterator[ImageLike]:
    """Return images one by one, where one alone may have been given."""
    if isinstance(images, np.ndarray):
        if images.ndim not in (2, 3, 4):
            raise PipelineError(f"images is an array {images.shape}. Give (N, H, W, C), or (H, W, C) for one image.")
        return iter(images if images.ndim == 4 else [images])
    if isinstance(images, str | os.PathLike | Image.Image):
        return iter([images])
    return iter(images)


def _pixels(image: ImageLike, canvas: Canvas, spec: ImageSpec, number: int) -> Pixels:
    pixels = read_image(image, canvas, f"images[{number}]")
    if pixels.ndim != 3 or pixels.shape[2] != spec.channels or pixels.dtype != spec.dtype or 0 in pixels.shape:
        raise PipelineError(
            f"images[{number}] is {pixels.dtype} {pixels.shape}, and the model takes {spec}: (H, W, C)."
        )
    return pixels


def _by_shape(session: onnxruntime.InferenceSession, images: list[Pixels]) -> npt.NDArray[Any]:
    """Embed images in their order, those of one shape in one batch."""
    places: dict[tuple[int, ...], list[int]] = {}
    for place, image in enumerate(images):
        places.setdefault(image.shape, []).append(place)
    rows = {
        place: row
        for mine in places.values()
        for place, row in zip(mine, run(session, np.stack([images[place] for place in mine])), strict=True)
    }
    return np.stack([rows[place] for place in range(len(images))])
