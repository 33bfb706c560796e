"""From a file's bytes to upright RGB pixels, and from those to a canvas. What cannot be used is rejected with a reason.

This module imports no torch, and is all that a decoding process needs.
"""

import contextlib
import hashlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, UnidentifiedImageError

__all__ = [
    "Canvas",
    "Decoded",
    "RejectedError",
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

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes it upright (EXIF 2.32, tag 274)."""


class RejectedError(Exception):
    """An image that cannot be used; `kind` is what to count it under, `str()` the whole reason."""

    def __init__(self, kind: str, detail: str = ""):
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


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
        width: Of the upright image, px.
        height: Likewise.
        mode: Pillow's mode of the file (L, RGB, CMYK, ...).
        canvas: The canvas, size x size x 3 bytes.
    """

    digest: bytes
    width: int
    height: int
    mode: str
    canvas: bytes


def decode(content: bytes | Image.Image, canvas: Canvas) -> Decoded:
    """Decode one image and fit it to a canvas.

    Args:
        content: A file's bytes, or an image that a data set has decoded already.
        canvas: How.

    Raises:
        RejectedError: It cannot be used.
    """
    pixels, mode = read_pixels(content, canvas)
    height, width = pixels.shape[:2]
    fitted = to_canvas(pixels, canvas.size, canvas.resize, canvas.background)
    return Decoded(content_hash(pixels), width, height, mode, fitted.tobytes())


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
    if content == b"":
        raise RejectedError("empty file")
    with _pillow_guarded(canvas.max_megapixels):
        image = Image.open(io.BytesIO(content)) if isinstance(content, bytes) else content
        if image.format == "EPS":  # Pillow would hand the file to Ghostscript, and run it
            raise RejectedError("not an image", "PostScript is a program; convert it to PNG")
        _check_size(image.size, canvas)
        mode = image.mode
        with _libtiff_silenced() if image.format == "TIFF" else contextlib.nullcontext():
            image.load()
        _check_size(image.size, canvas)  # some formats know their size only now
        pixels = np.asarray(_to_rgb(_upright(image), canvas.background))
    return pixels, mode


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
    except UnidentifiedImageError as error:
        raise RejectedError("not an image", "of no format that Pillow reads, or damaged at its head") from error
    except MemoryError as error:
        raise RejectedError("too large", "it does not fit in memory") from error
    except Exception as error:  # a parser may raise anything at a broken file: struct.error, SyntaxError, KeyError ...
        raise RejectedError("broken", f"{type(error).__name__}: {error}") from error
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


def _upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; a picture whose EXIF block is broken stays as it is."""
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except (SyntaxError, ValueError, OSError, LookupError, TypeError, EOFError):
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Convert any mode to RGB; transparent pixels show the background."""
    if image.mode.startswith("I;16"):
        return _from_range(np.asarray(image).astype(np.float64), 0.0, 65535.0)
    if image.mode in ("I", "F"):
        return _from_wide(image)
    if image.mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # None only where it converts in place
        return converted
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, (*background, 255)), layer).convert("RGB")
    return image.convert("RGB")


def _from_wide(image: Image.Image) -> Image.Image:
    """Map 32-bit values to grey: from the range that the format promises, or else from darkest to brightest."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise RejectedError("broken", "it has values that are not finite")
    low, high = float(values.min()), float(values.max())
    if image.mode == "I" and image.format in ("PNG", "PPM"):
        return _from_range(values, 0.0, 65535.0)
    if image.mode == "F" and low >= 0.0 and high <= 1.0:
        return _from_range(values, 0.0, 1.0)
    return _from_range(values, low, high)


def _from_range(values: npt.NDArray[np.float64], low: float, high: float) -> Image.Image:
    scaled = (values - low) * (255.0 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(np.floor(scaled.clip(0.0, 255.0) + 0.5).astype(np.uint8)).convert("RGB")
