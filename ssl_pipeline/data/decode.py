"""Decode a file to upright pixels and fit these to a canvas; files that cannot be used are rejected with a reason.

A decoding process needs nothing beyond this module, which does not import torch.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from PIL import Image

from ssl_pipeline.data.agreement import RGB8_PIXELS, PixelsChoice
from ssl_pipeline.data.bands import Bands, read_by_pillow, read_numpy
from ssl_pipeline.data.exif import NOTHING_TOLD, Shot, shot_of
from ssl_pipeline.data.formats import NUMPY_HEAD, TIFF_HEADS, further_parts, open_image
from ssl_pipeline.data.identity import content_hash, image_hash
from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.data.likeness import sketch
from ssl_pipeline.data.measured import Values, fit_bands, is_measured, refuse_other_nodata, rendition, values_of
from ssl_pipeline.data.mending import mend
from ssl_pipeline.data.remarks import Note, RejectedError
from ssl_pipeline.data.rgb import is_deep, to_rgb, upright
from ssl_pipeline.terminal import shown

__all__ = [
    "Canvas",
    "Decoded",
    "Resize",
    "decode",
    "fit_boxes",
    "read_pixels",
    "to_canvas",
]

Resize = Literal["squash", "crop", "letterbox"]
Box = tuple[int, int, int, int]

# Pillow also logs some broken files; without a handler, Python would print these messages to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Canvas:
    """How images are fitted to squares of one size, and which images are refused.

    Attributes:
        size: Side of the canvas, px.
        resize: `squash` (both sides to the canvas), `crop` (largest centred square) or `letterbox` (all, with borders).
        background: Colour under transparent pixels and in borders, RGB in [0, 255]; only for images that become RGB.
        min_side: Smallest side of an image that is accepted, px.
        max_megapixels: Largest size of an image that is accepted, read from its header before any pixel is decoded.
        pixels: Whether images become 8-bit RGB or keep their bands and type.
    """

    size: int
    resize: Resize
    background: tuple[int, int, int]
    min_side: int
    max_megapixels: float
    pixels: PixelsChoice = RGB8_PIXELS


@dataclass(frozen=True, slots=True)
class Decoded:
    """The part of an image that the store keeps.

    Attributes:
        digest: SHA-256 of the upright pixels, their shape and their type; equal for files with the same picture.
        width: Width of the upright image, px.
        height: Height of the upright image, px.
        mode: Pillow's mode of the file (L, RGB, CMYK, ...), or a description of its bands.
        canvas: Bytes of the canvas, (size, size, C).
        sketch: Bytes by which near copies are found; see `ssl_pipeline.data.likeness`.
        notes: Notes on what was left out or is unusual about the values.
        values: Summary of the values of an image that keeps its bands and type; None for 8-bit RGB.
        gaps: Bit mask of the canvas values that are missing, packed row by row; empty if none is missing.
        file_bytes: Size of the file in bytes; 0 for an image that a data set had already decoded.
        shot: Camera and time of the photograph.
    """

    digest: bytes
    width: int
    height: int
    mode: str
    canvas: bytes
    sketch: bytes
    notes: tuple[Note, ...] = ()
    values: Values | None = None
    gaps: bytes = b""
    file_bytes: int = 0
    shot: Shot = NOTHING_TOLD


def decode(content: bytes | Image.Image, canvas: Canvas) -> Decoded:
    """Decode one image and fit it to a canvas.

    Args:
        content: Bytes of a file, or an image that a data set has already decoded.
        canvas: Canvas to fit the image to, and the limits of what is accepted.

    Raises:
        RejectedError: The image cannot be used.
    """
    if canvas.pixels.name == "as_is":
        return _decode_as_is(content, canvas)
    (image, mode, shot), notes = _read(content, canvas, _to_rgb)
    width, height = image.size
    fitted = to_canvas(image, canvas.size, canvas.resize, canvas.background)
    found = image_hash(image), width, height, mode, fitted.tobytes(), sketch(image), tuple(notes)
    return Decoded(*found, file_bytes=_size(content), shot=shot)


def _decode_as_is(content: bytes | Image.Image, canvas: Canvas) -> Decoded:
    """Decode one image and fit it to a canvas without changing its bands and type."""
    bands, notes = _read(content, canvas, _to_bands)
    pixels, nodata = bands.pixels, bands.nodata if canvas.pixels.nodata is None else canvas.pixels.nodata
    height, width = pixels.shape[:2]
    measured = is_measured(pixels, nodata)
    if not measured.any():
        raise RejectedError("empty", "all of its pixels are nodata")
    fitted = fit_bands(pixels, measured, canvas.size, *fit_boxes(width, height, canvas.size, canvas.resize))
    return Decoded(
        content_hash(pixels),
        width,
        height,
        bands.mode,
        fitted.canvas.tobytes(),
        sketch(Image.fromarray(rendition(pixels, measured))),
        tuple(notes),
        values_of(pixels, measured, bands.is_rgb, nodata),
        np.packbits(fitted.gaps).tobytes() if fitted.gaps.any() else b"",
        _size(content),
        bands.shot,
    )


def _size(content: bytes | Image.Image) -> int:
    return len(content) if isinstance(content, bytes) else 0


def read_pixels(content: bytes | Image.Image, canvas: Canvas, model: ImageSpec | None = None) -> tuple[Pixels, str]:
    """Decode one image, and return its upright pixels (H, W, C) and the mode of the file.

    Args:
        content: Bytes of a file, or an image that a data set has already decoded.
        canvas: Whether pixels become 8-bit RGB, and the limits beyond which an image is refused.
        model: Specification of the images that a model accepts, if the image is read for a model; None skips the check.

    Raises:
        RejectedError: The image cannot be used, or the model would mistake unmeasured pixels for measured ones.
    """
    if canvas.pixels.name == "as_is":
        bands, _ = _read(content, canvas, _to_bands)
        if model is not None:
            refuse_other_nodata(bands.pixels, bands.nodata, model)
        return bands.pixels, bands.mode
    (image, mode, _), _ = _read(content, canvas, _to_rgb)
    return np.asarray(image), mode


Result = TypeVar("Result")


def _read(
    content: bytes | Image.Image,
    canvas: Canvas,
    decoder: Callable[[bytes | Image.Image, Canvas], tuple[Result, list[Note]]],
) -> tuple[Result, list[Note]]:
    """Call a decoder; if it fails on a broken file that can be mended, call it again on the mended bytes."""
    if content == b"":
        raise RejectedError("empty file")
    with _pillow_guarded(canvas.max_megapixels):
        if not isinstance(content, bytes):
            return decoder(content, canvas)
        try:
            return decoder(content, canvas)
        except (OSError, ValueError):
            mended = mend(content)
            if mended is None:
                raise
            whole, note = mended
            result, notes = decoder(whole, canvas)
            return result, [note, *notes]


def _to_rgb(content: bytes | Image.Image, canvas: Canvas) -> tuple[tuple[Image.Image, str, Shot], list[Note]]:
    image = open_image(content) if isinstance(content, bytes) else content
    _check_size(image.size, canvas)
    mode, deep = image.mode, is_deep(image)
    notes = further_parts(content, image) if isinstance(content, bytes) else []
    with _libtiff_silenced() if image.format == "TIFF" else contextlib.nullcontext():
        image.load()
    _check_size(image.size, canvas)  # again, because some formats reveal their size only after loading
    shot = shot_of(image)
    rgb, remarks = to_rgb(upright(image), canvas.background, deep)
    return (rgb, mode, shot), [*notes, *remarks]


def _to_bands(content: bytes | Image.Image, canvas: Canvas) -> tuple[Bands, list[Note]]:
    def check_size(size: tuple[int, int]) -> None:
        _check_size(size, canvas)

    if isinstance(content, bytes) and content.startswith(NUMPY_HEAD):
        bands = read_numpy(content, check_size)
    elif isinstance(content, bytes) and content.startswith(TIFF_HEADS):
        from ssl_pipeline.data.tiff import read_tiff  # not at the top, because tifffile takes a while to import

        with _libtiff_silenced():
            bands = read_tiff(content, check_size)
    else:
        bands = read_by_pillow(content, check_size)
    return bands, list(bands.notes)


def fit_boxes(width: int, height: int, size: int, resize: Resize) -> tuple[Box, Box]:
    """Return which part of an image is used, and which part of the canvas it fills.

    Args:
        width: Width of the image, px.
        height: Height of the image, px.
        size: Side of the canvas, px.
        resize: How the image is fitted to the canvas.

    Returns:
        Two boxes (left, top, right, bottom) in px, the first in the image and the second in the canvas.
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


def to_canvas(image: Image.Image, size: int, resize: Resize, background: tuple[int, int, int]) -> Image.Image:
    """Fit an RGB image to a canvas of size x size px, antialiased by a triangle filter (Pillow's BILINEAR)."""
    source, target = fit_boxes(*image.size, size, resize)
    if source != (0, 0, *image.size):
        image = image.crop(source)  # before resizing, so that no pixel from outside the box bleeds in
    fitted = image.resize((target[2] - target[0], target[3] - target[1]), Image.Resampling.BILINEAR)
    if fitted.size == (size, size):
        return fitted
    canvas = Image.new("RGB", (size, size), background)
    canvas.paste(fitted, target[:2])
    return canvas


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
    """Turn any error that Pillow raises on a hostile file into a rejection, and silence its other warnings."""
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
    except Exception as error:  # a parser may raise anything on a broken file: struct.error, SyntaxError, KeyError ...
        raise RejectedError("broken", f"{type(error).__name__}: {shown(' '.join(str(error).split()), 200)}") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


@contextlib.contextmanager
def _libtiff_silenced() -> Iterator[None]:
    """Discard stderr, where libtiff reports broken files without going through Python; it raises these errors, too."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
