"""From a file's bytes to upright RGB pixels, and from those to a canvas. What cannot be used is rejected with a reason.

This module imports no torch, and is all that a decoding process needs.
"""

import contextlib
import hashlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from ssl_pipeline.data.formats import further_parts, open_image
from ssl_pipeline.data.likeness import sketch
from ssl_pipeline.data.mending import mend
from ssl_pipeline.data.remarks import Note, RejectedError
from ssl_pipeline.data.rgb import is_deep, to_rgb, upright
from ssl_pipeline.terminal import shown

__all__ = [
    "Canvas",
    "Decoded",
    "Resize",
    "content_hash",
    "decode",
    "fit_boxes",
    "read_pixels",
    "to_canvas",
]

Pixels = npt.NDArray[np.uint8]
Resize = Literal["squash", "crop", "letterbox"]
Box = tuple[int, int, int, int]

# Pillow reports some broken files to the log as well; without a handler Python would print that to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Canvas:
    """How images become equal canvases, and which are refused.

    Attributes:
        size: Side of a canvas, px.
        resize: squash (both sides to the canvas), crop (largest centred square), letterbox (all of it, with borders).
        background: RGB, 0 to 255, under transparent pixels and in borders.
        min_side: Images with a shorter side are rejected, px.
        max_megapixels: Larger images are rejected by their header, unread.
    """

    size: int
    resize: Resize
    background: tuple[int, int, int]
    min_side: int
    max_megapixels: float


@dataclass(frozen=True, slots=True)
class Decoded:
    """What the store keeps of one image.

    Attributes:
        digest: SHA-256 of the upright RGB pixels and their shape: two files with it are the same picture.
        width: Width of the upright image, px.
        height: Height of the upright image, px.
        mode: Pillow's mode of the file (L, RGB, CMYK, ...).
        canvas: The canvas, size x size x 3 bytes.
        sketch: What near copies are found by; see `ssl_pipeline.data.likeness`.
        notes: What was left out of it, or is odd about its values.
    """

    digest: bytes
    width: int
    height: int
    mode: str
    canvas: bytes
    sketch: bytes
    notes: tuple[Note, ...] = ()


def decode(content: bytes | Image.Image, canvas: Canvas) -> Decoded:
    """Decode one image and fit it to a canvas.

    Args:
        content: A file's bytes, or an image that a data set has decoded already.
        canvas: The canvas to fit it to, and what is refused.

    Raises:
        RejectedError: It cannot be used.
    """
    pixels, mode, notes = _read(content, canvas)
    height, width = pixels.shape[:2]
    fitted = to_canvas(pixels, canvas.size, canvas.resize, canvas.background)
    return Decoded(content_hash(pixels), width, height, mode, fitted.tobytes(), sketch(pixels), tuple(notes))


def content_hash(pixels: Pixels) -> bytes:
    """SHA-256 of pixels (H, W, 3) and their shape."""
    digest = hashlib.sha256(f"{pixels.shape[0]}x{pixels.shape[1]}:".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.digest()


def read_pixels(content: bytes | Image.Image, canvas: Canvas) -> tuple[Pixels, str]:
    """Decode one image: upright RGB uint8 (H, W, 3), and the mode of the file.

    Raises:
        RejectedError: It cannot be used.
    """
    return _read(content, canvas)[:2]


def _read(content: bytes | Image.Image, canvas: Canvas) -> tuple[Pixels, str, list[Note]]:
    if content == b"":
        raise RejectedError("empty file")
    with _pillow_guarded(canvas.max_megapixels):
        if not isinstance(content, bytes):
            return _to_pixels(content, content, canvas)
        try:
            return _to_pixels(content, open_image(content), canvas)
        except (OSError, ValueError):
            mended = mend(content)
            if mended is None:
                raise
            whole, note = mended
            pixels, mode, notes = _to_pixels(whole, open_image(whole), canvas)
            return pixels, mode, [note, *notes]


def _to_pixels(content: bytes | Image.Image, image: Image.Image, canvas: Canvas) -> tuple[Pixels, str, list[Note]]:
    """Decode an opened file; `content` is what was opened."""
    _check_size(image.size, canvas)
    mode, deep = image.mode, is_deep(image)
    notes = further_parts(content, image) if isinstance(content, bytes) else []
    with _libtiff_silenced() if image.format == "TIFF" else contextlib.nullcontext():
        image.load()
    _check_size(image.size, canvas)  # some formats know their size only now
    rgb, remarks = to_rgb(upright(image), canvas.background, deep)
    return np.asarray(rgb), mode, [*notes, *remarks]


def fit_boxes(width: int, height: int, size: int, resize: Resize) -> tuple[Box, Box]:
    """Where a canvas's pixels come from and go to.

    Returns:
        Two boxes (left, top, right, bottom): the part of the image that is used, and the part of the canvas it fills.
    """
    whole, all_of_it = (0, 0, width, height), (0, 0, size, size)
    if resize == "squash":
        return whole, all_of_it
    if resize == "crop":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return (left, top, left + side, top + side), all_of_it
    longest = max(width, height)
    inner_width, inner_height = (max(1, (2 * side * size + longest) // (2 * longest)) for side in (width, height))
    left, top = (size - inner_width) // 2, (size - inner_height) // 2
    return whole, (left, top, left + inner_width, top + inner_height)


def to_canvas(pixels: Pixels, size: int, resize: Resize, background: tuple[int, int, int]) -> Pixels:
    """Fit pixels (H, W, 3) to a canvas (size, size, 3), antialiased by a triangle filter (Pillow's BILINEAR)."""
    height, width = pixels.shape[:2]
    source, target = fit_boxes(width, height, size, resize)
    image = Image.fromarray(pixels).crop(source)  # cropped first, so that no pixel from outside the box bleeds in
    image = image.resize((target[2] - target[0], target[3] - target[1]), Image.Resampling.BILINEAR)
    if image.size == (size, size):
        return np.asarray(image)
    canvas = Image.new("RGB", (size, size), background)
    canvas.paste(image, target[:2])
    return np.asarray(canvas)


def _check_size(size: tuple[int, int], canvas: Canvas) -> None:
    width, height = size
    if width * height > canvas.max_megapixels * 1e6:
        raise RejectedError(
            "too large", f"{width} x {height} px is more than max_megapixels ({canvas.max_megapixels:g})"
        )
    if min(size) < canvas.min_side:
        raise RejectedError("too small", f"{width} x {height} px, and min_side is {canvas.min_side}")


@contextlib.contextmanager
def _pillow_guarded(max_megapixels: float) -> Iterator[None]:
    """Turn whatever Pillow makes of a hostile file into a rejection, and keep it quiet about the others."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, int(max_megapixels * 1e6)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except RejectedError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RejectedError("too large", f"more than max_megapixels ({max_megapixels:g})") from error
    except MemoryError as error:
        raise RejectedError("too large", "it does not fit in memory") from error
    except Exception as error:  # a parser may raise anything at a broken file: struct.error, SyntaxError, KeyError ...
        raise RejectedError("broken", f"{type(error).__name__}: {shown(' '.join(str(error).split()), 200)}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def _libtiff_silenced() -> Iterator[None]:
    """Send stderr nowhere: libtiff tells it about broken files, past Python. What it found is raised as well."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
