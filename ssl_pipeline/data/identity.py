"""The identity of a picture: the SHA-256 of its upright pixels, whatever file they come from."""

import hashlib
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image

from ssl_pipeline.data.image_spec import Pixels

__all__ = ["content_hash", "image_hash"]

_BAND_BYTES = 2**20


def content_hash(pixels: Pixels) -> bytes:
    """Return the SHA-256 of pixels (H, W, C) and their shape, and of their type if they are not 8-bit RGB."""
    height, width, channels = pixels.shape
    kind = "" if channels == 3 and pixels.dtype == np.uint8 else f"{channels}x{pixels.dtype}:"
    return _digest(f"{height}x{width}:{kind}", [np.ascontiguousarray(pixels).data])


def image_hash(image: Image.Image) -> bytes:
    """Return the `content_hash` of an RGB image's pixels."""
    width, height = image.size
    return _digest(f"{height}x{width}:", _bands(image))


def _digest(described: str, pixels: Iterable[bytes | memoryview]) -> bytes:
    digest = hashlib.sha256(described.encode())
    for part in pixels:
        digest.update(part)
    return digest.digest()


def _bands(image: Image.Image) -> Iterator[bytes]:
    """Yield the pixels of an RGB image from the top, in blocks of rows that fit into the processor's cache."""
    width, height = image.size
    rows = max(1, _BAND_BYTES // (3 * width))
    if rows >= height:
        yield image.tobytes()
        return
    for top in range(0, height, rows):
        yield image.crop((0, top, width, min(top + rows, height))).tobytes()
