"""Convert images of any Pillow mode to upright 8-bit RGB."""

import re

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from ssl_pipeline.data.exif import orientation_of
from ssl_pipeline.data.remarks import Note, RejectedError

__all__ = ["is_deep", "to_rgb", "upright"]

_TURN_OF_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition that makes an image upright, by its EXIF orientation."""

_SIXTEEN_BIT_MODE = re.compile(
    "(?<!BGR);16"
)  # Pillow's raw modes RGB;16L and so on, but not BGR;16, which is 16 bits per pixel
MOST_BITS = 12
"""Largest number of used bits for which a 16-bit file gets a note: in 8 bits, it has at most 17 of 256 grey levels."""


def upright(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation; a picture with a broken EXIF block stays as it is."""
    turn = _TURN_OF_ORIENTATION.get(orientation_of(image))
    return image if turn is None else image.transpose(turn)


def is_deep(image: Image.Image) -> bool:
    """Return whether an opened file that is not loaded yet has 16-bit bands."""
    return any(_SIXTEEN_BIT_MODE.search(str(tile.args)) for tile in getattr(image, "tile", ()))


def to_rgb(image: Image.Image, background: tuple[int, int, int], deep: bool) -> tuple[Image.Image, list[Note]]:
    """Convert any mode to RGB; transparent pixels show the background.

    Args:
        image: Loaded image.
        background: Colour under transparent pixels, RGB in [0, 255].
        deep: Whether the file has 16-bit bands.

    Returns:
        The image in RGB, and notes on the conversion of its values.

    Raises:
        RejectedError: The image has values that are not finite.
    """
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _from_16_bits(np.asarray(image))
    if image.mode in ("I", "F"):
        return _from_wide(image)
    if image.mode == "LAB":
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
        assert converted is not None  # only a conversion in place returns None
        return converted, []
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        rgb = Image.alpha_composite(Image.new("RGBA", layer.size, (*background, 255)), layer).convert("RGB")
        return rgb, _about_depth(int(np.asarray(layer)[..., :3].max()) * 257 if deep else 65535)
    rgb = image if image.mode == "RGB" else image.convert("RGB")  # convert would copy an RGB image
    return rgb, _about_depth(int(np.asarray(rgb).max()) * 257 if deep else 65535)


def _from_16_bits(values: npt.NDArray[np.integer]) -> tuple[Image.Image, list[Note]]:
    """Map 16-bit values to grey, keeping the scale: 65,535 is white however dark the image is."""
    eight = (values.clip(0, 65535).astype(np.uint32) + 128) // 257  # values / 257, rounded
    return Image.fromarray(eight.astype(np.uint8)).convert("RGB"), _about_depth(int(values.max()))


def _about_depth(brightest: int) -> list[Note]:
    """Return a note if 16-bit values are so low that 8 bits lose most of them; a black image has nothing to lose."""
    if not 0 < brightest < 2**MOST_BITS:
        return []
    levels = (brightest + 128) // 257 + 1
    return [
        Note(
            f"use no more than {MOST_BITS} of their 16 bits",
            f"{levels} of 256 levels are left, as 65,535 becomes white; ingest.pixels: as_is keeps all values",
        )
    ]


def _from_wide(image: Image.Image) -> tuple[Image.Image, list[Note]]:
    """Map 32-bit values to grey: floats in [0, 1] keep their scale, and others are scaled from darkest to brightest."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise RejectedError("broken", "it contains values that are not finite")
    low, high = float(values.min()), float(values.max())
    if image.mode == "F" and low >= 0.0 and high <= 1.0:
        return _from_range(values, 0.0, 1.0), []
    kind = "float" if image.mode == "F" else "32-bit"
    detail = f"{kind} values from {low:g} to {high:g}: the lowest became black, the highest white"
    return _from_range(values, low, high), [Note("are scaled by their own value range", detail)]


def _from_range(values: npt.NDArray[np.float64], low: float, high: float) -> Image.Image:
    """Map [low, high] to 0 to 255, rounded; this overwrites the array."""
    values -= low
    values *= 255.0 / (high - low) if high > low else 0.0
    np.floor(values.clip(0.0, 255.0, out=values) + 0.5, out=values)
    return Image.fromarray(values.astype(np.uint8)).convert("RGB")
