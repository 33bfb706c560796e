"""Reading images for a model, with the reader of `ingest`: in other processes, in order, at their original sizes."""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ssl_pipeline.data.agreement import PixelsChoice
from ssl_pipeline.data.chunk import Chunk
from ssl_pipeline.data.decode import Canvas, read_pixels
from ssl_pipeline.data.identity import content_hash
from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.data.listing import Reader
from ssl_pipeline.data.parallel import file_limit, limits_of, read_at_most
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.workers import in_order
from ssl_pipeline.deployment.very_wide import MAX_MEGAPIXELS, too_wide
from ssl_pipeline.embeddings.inputs import Inputs, reader_of

__all__ = ["MAX_MEGAPIXELS", "Picture", "canvas_of", "picture_of", "read_all", "read_some"]

_CHUNK_IMAGES, _CHUNK_BYTES = 64, 2**20
_PATIENCE_SECONDS = 1.0
"""Time in s that one process decodes before more are started; starting them takes about as long."""


class Picture(NamedTuple):
    """An image that was read.

    Attributes:
        pixels: Pixels (H, W, C) of the upright image, with the channels and the type that the model takes.
        sha256: SHA-256 of the pixels in hex, which is the image's id in ingest.
    """

    pixels: Pixels
    sha256: str


def canvas_of(spec: ImageSpec, metadata: Mapping[str, str], max_megapixels: float = MAX_MEGAPIXELS) -> Canvas:
    """Return the settings for reading the images of a model, from the metadata of its file."""
    kept = PixelsChoice(name="rgb8" if spec == RGB8 else "as_is")
    background = tuple(json.loads(metadata["background"])) if kept.name == "rgb8" else (0, 0, 0)  # only RGB has one
    return Canvas(int(metadata["size"]), "squash", background, 1, max_megapixels, kept)


def read_all(
    inputs: Inputs, start: int, stop: int, canvas: Canvas, spec: ImageSpec, workers: int
) -> Iterator[Picture | RejectedError]:
    """Read the images from number `start` up to, but not including, number `stop`, in order.

    The number of bytes in flight is bounded, however large the images are.

    Args:
        inputs: Images to read from.
        start: Number of the first image.
        stop: Number after that of the last image.
        canvas: Settings for reading: the background of transparent pixels, the conversion of values, and limits.
        spec: Images that the model takes; others are rejected.
        workers: Largest number of processes.

    Raises:
        PipelineError: A decoding process was killed.
    """
    work = functools.partial(picture_of, canvas, spec)
    chunks = (
        Chunk(place.names[first : first + size], _bounded(place.read, canvas), work)
        for place in inputs.part(start, stop)
        for size in [max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // max(1, place.mean_bytes)))]
        for first in range(0, len(place.names), size)
    )
    return in_order(chunks, workers, limits_of(canvas), _PATIENCE_SECONDS)


def read_some(paths: Sequence[Path], canvas: Canvas, spec: ImageSpec) -> Iterator[Picture | RejectedError]:
    """Read a few images one by one, from paths as `Inputs` has them."""
    work = functools.partial(picture_of, canvas, spec)
    found = ((read, name) for read, name in map(reader_of, paths))
    return in_order((Chunk([name], _bounded(read, canvas), work) for read, name in found), 1, limits_of(canvas), 0.0)


def _bounded(read: Reader, canvas: Canvas) -> "functools.partial[bytes | Image.Image]":
    return functools.partial(read_at_most, read, file_limit(canvas))


def picture_of(canvas: Canvas, spec: ImageSpec, content: bytes | Image.Image) -> Picture:
    """Read an image in this process.

    Raises:
        RejectedError: The image cannot be read, does not have the channels and the type that the model takes, or is so
            elongated that the model would need more memory for it than for the largest image that is allowed.
    """
    pixels, _ = read_pixels(content, canvas, spec)
    if pixels.shape[2] != spec.channels or pixels.dtype != spec.dtype:
        found = f"{pixels.shape[2]} x {pixels.dtype}"
        raise RejectedError("not what the model takes", f"{found} instead of {spec.channels} x {spec.dtype}")
    if reason := too_wide(pixels.shape[0], pixels.shape[1], canvas.size, canvas.max_megapixels):
        raise RejectedError("too large", reason)
    return Picture(pixels, content_hash(pixels).hex())
