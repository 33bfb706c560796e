"""Images passed by a program: paths, Pillow images and arrays, all read as training images are.

This module does not import torch.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ssl_pipeline.data.decode import Canvas, read_pixels
from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import shown

__all__ = ["ImageLike", "as_pillow", "read_image"]

ImageLike = str | os.PathLike[str] | Image.Image | npt.NDArray[Any]
"""An image: the path of a file, a Pillow image, or an array (H, W) or (H, W, C)."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Number of 8-bit channels -> Pillow mode; the last of four channels is the opacity."""


def read_image(image: ImageLike, canvas: Canvas, name: str, model: ImageSpec | None = None) -> Pixels:
    """Read an image as `ingest` does: upright, and as 8-bit RGB unless the canvas keeps images as they are.

    Args:
        image: The image.
        canvas: The canvas, which states the background of transparent pixels, how pixel values are stored, and which
            images are refused.
        name: The name of the image in messages, such as "images[3]".
        model: The specification of images that the model takes; None: the image is not read for a model.

    Returns:
        (H, W, C) pixels.

    Raises:
        PipelineError: The image cannot be read.
    """
    if isinstance(image, np.ndarray) and canvas.pixels.name == "as_is":
        return image if image.ndim == 3 else image[..., None]
    if isinstance(image, np.ndarray) and image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8:
        return image  # reading would change nothing
    try:
        return read_pixels(_content(image, name), canvas, model)[0]
    except RejectedError as reason:
        shown_name = name if isinstance(image, np.ndarray | Image.Image) else f"{name} ('{shown(str(image), 200)}')"
        raise PipelineError(f"{shown_name} cannot be used: {reason}.") from reason


def _content(image: ImageLike, name: str) -> bytes | Image.Image:
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, np.ndarray):
        return as_pillow(image, name)
    if not isinstance(image, str | os.PathLike):
        raise PipelineError(
            f"{name} is of type {type(image).__name__}. Give a path, a Pillow image, or a uint8 array (H, W, 3)."
        )
    try:
        return Path(image).read_bytes()
    except (OSError, ValueError) as error:  # ValueError: no file can have that name
        reason = getattr(error, "strerror", None) or str(error)
        raise PipelineError(
            f"{name}: '{shown(str(image), 200)}' cannot be read ({reason}). Give the path of an image file."
        ) from error


def as_pillow(image: npt.NDArray[Any], name: str) -> Image.Image:
    """Convert an 8-bit array, (H, W) or (H, W, C) with C equal to 1, 3 or 4, to a Pillow image.

    Raises:
        PipelineError: The array has another type or shape; the message contains `name`.
    """
    channels = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
    if image.dtype != np.uint8 or channels not in _MODES or 0 in image.shape:
        raise PipelineError(
            f"{name} is an array of {image.dtype} {image.shape}. Give uint8 (H, W, 3), (H, W, 1) or (H, W, 4), with "
            "channels last and values from 0 to 255."
        )
    return Image.fromarray(image if channels > 1 else image.reshape(image.shape[:2]))
