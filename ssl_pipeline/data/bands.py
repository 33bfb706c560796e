"""Decode a file to its original bands and type, as `ingest.pixels: as_is` stores them.

Values stay unchanged, except that types which the store does not support become 32-bit floats. Like all modules for
decoding, this one does not import torch.
"""

import io
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from ssl_pipeline.data.exif import NOTHING_TOLD, Shot, shot_of
from ssl_pipeline.data.formats import further_parts, open_image
from ssl_pipeline.data.image_spec import MAX_CHANNELS, Pixels
from ssl_pipeline.data.remarks import Note, RejectedError
from ssl_pipeline.data.rgb import is_deep, to_rgb, upright

__all__ = ["Bands", "CheckSize", "read_by_pillow", "read_numpy", "storable"]

CheckSize = Callable[[tuple[int, int]], None]
"""Function that refuses images by their width and height in px, before their pixels are decoded."""


class Bands(NamedTuple):
    """An image with the bands and the type of its file.

    Attributes:
        pixels: Upright pixels (H, W, C) of type uint8, uint16 or float32.
        mode: Description of the bands in the file, such as RGBA or "13 x float32".
        is_rgb: Whether the file declares the first three bands to be red, green and blue.
        nodata: Value by which the file marks unmeasured pixels; None if it names no such value.
        notes: Notes on what was left out or is unusual.
        shot: Camera and time of the photograph.
    """

    pixels: Pixels
    mode: str
    is_rgb: bool = False
    nodata: float | None = None
    notes: tuple[Note, ...] = ()
    shot: Shot = NOTHING_TOLD


def read_by_pillow(content: bytes | Image.Image, check_size: CheckSize) -> Bands:
    """Read an image that Pillow opens, converting palettes and print colour spaces to RGB.

    Args:
        content: Bytes of a file, or an image that a data set has already decoded.
        check_size: Function that refuses images by their size.

    Raises:
        RejectedError: The image cannot be kept without loss.
    """
    image = open_image(content) if isinstance(content, bytes) else content
    check_size(image.size)
    mode, deep = image.mode, is_deep(image)
    notes = tuple(further_parts(content, image)) if isinstance(content, bytes) else ()
    image.load()
    check_size(image.size)  # again, because some formats reveal their size only after loading
    shot = shot_of(image)
    image = upright(image)
    if mode.startswith("I") or mode == "F":
        values = np.asarray(image)
        if mode == "I" and image.format in ("PNG", "PPM"):
            values = values.astype(np.uint16)
        return _bands(values[..., None], mode, notes, shot)
    if deep and image.mode != "L":
        raise RejectedError(
            "not supported",
            f"several 16-bit bands in a {image.format}, of which Pillow reads only 8 bits; save the image as TIFF",
        )
    if image.mode in ("1", "L"):
        return Bands(np.asarray(image.convert("L"))[..., None], mode, notes=notes, shot=shot)
    if image.mode in ("LA", "La"):
        return Bands(np.asarray(image.convert("LA")), mode, notes=notes, shot=shot)
    transparent = image.has_transparency_data and image.mode != "RGB"
    whole = image.convert("RGBA") if transparent else to_rgb(image, (255, 255, 255), deep=False)[0]
    return Bands(np.asarray(whole), mode, True, notes=notes, shot=shot)


def read_numpy(content: bytes, check_size: CheckSize) -> Bands:
    """Read a .npy file with an array of numbers of shape (height, width) or (height, width, bands).

    Args:
        content: Bytes of the file.
        check_size: Function that refuses images by their size.

    Raises:
        RejectedError: The file contains something else, or not as many values as its header states.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise RejectedError("not supported", f"version {version[0]}.{version[1]} of .npy; save it with np.save")
    shape, by_columns, dtype = readers[version](file)
    if dtype.hasobject:
        raise RejectedError("not supported", "an array of Python objects, which could execute code")
    if len(shape) == 2:
        shape = (*shape, 1)
    if len(shape) != 3 or min(shape) < 1 or shape[2] > MAX_CHANNELS:
        first = " Its bands come first: move that axis to the end." if len(shape) == 3 and shape[0] <= shape[2] else ""
        raise RejectedError(
            "not supported", f"shape {shape}; it must be (height, width, bands), with 1 to {MAX_CHANNELS} bands.{first}"
        )
    check_size((shape[1], shape[0]))
    count, start = shape[0] * shape[1] * shape[2], file.tell()
    if len(content) - start != count * dtype.itemsize:
        raise RejectedError("broken", f"{len(content) - start:,} bytes of values instead of {count * dtype.itemsize:,}")
    values = np.frombuffer(content, dtype, count, start).reshape(shape, order="F" if by_columns else "C")
    return _bands(values, f"{shape[2]} x {dtype}")


def _bands(
    values: npt.NDArray[np.generic], mode: str, notes: tuple[Note, ...] = (), shot: Shot = NOTHING_TOLD
) -> Bands:
    pixels, remarks = storable(values)
    return Bands(pixels, mode, notes=(*notes, *remarks), shot=shot)


def storable(values: npt.NDArray[np.generic]) -> tuple[Pixels, list[Note]]:
    """Convert numbers to one of the types of the store, and return them with notes on any loss.

    Raises:
        RejectedError: The values are not real numbers.
    """
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind == "b":
        return values.astype(np.uint8) * np.uint8(255), []
    if kind == "u" and size <= 2:
        return values.astype(f"u{size}"), []
    if kind == "f" and size == 4:
        return values.astype(np.float32), []
    if kind not in "iuf":
        raise RejectedError("not supported", f"values of type {values.dtype}")
    with np.errstate(over="ignore"):
        floats = values.astype(np.float32)
    if np.array_equal(floats.astype(values.dtype), values, equal_nan=kind == "f"):
        return floats, []
    return floats, [Note("lose digits as 32-bit floats", f"values of type {values.dtype}")]
