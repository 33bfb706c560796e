"""Embeddings of images from an exported backbone. This module does not import torch."""

import itertools
import os
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.deployment.execution import Provider
from ssl_pipeline.embeddings.reading import canvas_of
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.library.images import ImageLike, read_image
from ssl_pipeline.runtime import Backbone

__all__ = ["embed"]

_MAX_MEGAPIXELS = 500.0  # larger images are refused by their header: a small file can claim any size


def embed(
    model: str | os.PathLike[str],
    images: ImageLike | Iterable[ImageLike],
    *,
    batch_size: int = 64,
    provider: Provider = "auto",
) -> npt.NDArray[np.float32]:
    """Embed images with an exported backbone, reading files exactly as in training.

    The function needs onnxruntime, numpy and Pillow, and does not import torch. The graph resizes and normalises.

    Args:
        model: The path of `backbone.onnx`.
        images: Paths, Pillow images and uint8 arrays (H, W, C) of any size, in any mixture; or one array (N, H, W, C);
            or a single image. A model trained on other images than 8-bit RGB takes arrays with the same channels and
            type as those.
        batch_size: The largest number of images in memory at a time; images of equal size are embedded together.
        provider: The execution provider of onnxruntime: "cpu", "cuda" or "openvino"; "auto" takes CUDA if it works,
            or else the CPU.

    Returns:
        (N, D) float32, one row per image; of unit length unless `export.l2_normalize` was off.

    Raises:
        PipelineError: The model is missing or not a backbone, the provider does not work here, or an image cannot be
            used; the message says which image.

    Examples:
        >>> import ssl_pipeline
        >>> ssl_pipeline.embed("backbone.onnx", ["cat.jpg", "dog.png"]).shape  # doctest: +SKIP
        (2, 256)
    """
    if batch_size < 1:
        raise PipelineError(f"batch_size must be at least 1, got {batch_size}.")
    backbone = Backbone(model, provider=provider)
    canvas = canvas_of(backbone.images, backbone.metadata, _MAX_MEGAPIXELS)
    found, numbered = [], enumerate(_each(images))
    while block := list(itertools.islice(numbered, batch_size)):
        found.append(backbone([_pixels(image, canvas, backbone, number) for number, image in block]))
    return np.concatenate(found) if found else backbone([])


def _each(images: ImageLike | Iterable[ImageLike]) -> Iterator[ImageLike]:
    """Iterate over the images, or over the single image that was passed."""
    if isinstance(images, np.ndarray):
        if images.ndim not in (2, 3, 4):
            raise PipelineError(
                f"images is an array of shape {images.shape}. Give (N, H, W, C), or (H, W, C) for a single image."
            )
        return iter(images if images.ndim == 4 else [images])
    if isinstance(images, str | os.PathLike | Image.Image):
        return iter([images])
    return iter(images)


def _pixels(image: ImageLike, canvas: Canvas, backbone: Backbone, number: int) -> Pixels:
    pixels = read_image(image, canvas, f"images[{number}]", backbone.images)
    backbone.check(pixels, f"images[{number}]")
    return pixels
