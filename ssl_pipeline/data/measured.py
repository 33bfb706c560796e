"""Images of any bands on canvases, where some pixels may not have been measured: these are mixed into no others."""

from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from ssl_pipeline.data.image_spec import DType, ImageSpec, Pixels
from ssl_pipeline.data.remarks import RejectedError

__all__ = [
    "MIN_MEASURED",
    "Fitted",
    "Values",
    "fit_bands",
    "is_measured",
    "refuse_other_nodata",
    "rendition",
    "values_of",
]

MIN_MEASURED = 0.5
"""Share of what a pixel is made of that must have been measured; the rest of it then counts for nothing."""

_COARSE_SIDE = 8  # features per side
_GREY_LEVELS_PER_STD = 40  # grey levels for a standard deviation

Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]


class Values(NamedTuple):
    """What an image tells of its values, by which a data set agrees on one record.

    Attributes:
        channels: The number of its bands.
        dtype: Their type.
        is_rgb: Whether the first three are red, green and blue.
        low: The least value that was measured.
        high: The greatest value that was measured.
        nodata: The value that the file names for pixels that were not measured.
        unmeasured: The share of values that were not measured, in [0, 1).
    """

    channels: int
    dtype: DType
    is_rgb: bool
    low: float
    high: float
    nodata: float | None
    unmeasured: float


class Fitted(NamedTuple):
    """A canvas (size, size, C), and where it has no values: in borders, and where the image was not measured."""

    canvas: Pixels
    gaps: Mask


def is_measured(pixels: Pixels, nodata: float | None) -> Mask:
    """Return where pixels were measured, (H, W, C): they are finite, and not the value that stands for nothing."""
    found: Mask = np.isfinite(pixels) if pixels.dtype.kind == "f" else np.ones(pixels.shape, np.bool_)
    if nodata is not None:
        found &= pixels != np.asarray(nodata).astype(np.float32 if pixels.dtype.kind == "f" else np.float64)
    return found


def refuse_other_nodata(pixels: Pixels, nodata: float | None, model: ImageSpec) -> None:
    """Refuse an image of which a model would take pixels for measured that were not.

    Args:
        pixels: (H, W, C) values.
        nodata: The value that the file names for pixels that were not measured; None where it names none.
        model: The images that the model takes.

    Raises:
        RejectedError: It has such pixels; the message names both values.
    """
    if nodata is None or not (is_measured(pixels, model.nodata) & ~is_measured(pixels, nodata)).any():
        return
    known = "none" if model.nodata is None else f"{model.nodata:g}"
    instead = "NaN" if model.dtype == "float32" else known
    raise RejectedError(
        "not what the model takes",
        f"its file marks pixels that were not measured by {nodata:g}, and of such values the model knows {known}"
        + ("" if instead == "none" else f": write {instead} there"),
    )


def values_of(pixels: Pixels, measured: Mask, is_rgb: bool, nodata: float | None) -> Values:
    """Describe the values of an image (H, W, C), of which at least one was measured."""
    dtype = cast("DType", pixels.dtype.name)
    low = float(pixels.min(where=measured, initial=pixels.max(where=measured, initial=_least(pixels))))
    high = float(pixels.max(where=measured, initial=_least(pixels)))
    return Values(pixels.shape[2], dtype, is_rgb, low, high, nodata, 1 - float(measured.mean()))


def _least(pixels: Pixels) -> int | float:
    return float(np.finfo(np.float32).min) if pixels.dtype.kind == "f" else 0


def fit_bands(pixels: Pixels, measured: Mask, size: int, source: Box, target: Box) -> Fitted:
    """Fit bands to a canvas, each by the filter that `ssl_pipeline.data.decode.to_canvas` uses, in 32-bit floats.

    Args:
        pixels: (H, W, C) values.
        measured: (H, W, C) bool, whether each value was measured.
        size: The side of the canvas, px.
        source: The box of the image that is used.
        target: The box of the canvas that it fills.
    """
    channels = pixels.shape[2]
    canvas = np.zeros((size, size, channels), pixels.dtype)
    gaps = np.ones((size, size, channels), np.bool_)
    left, top, right, bottom = target

    def resized(band: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        image = Image.fromarray(band).crop(source).resize((right - left, bottom - top), Image.Resampling.BILINEAR)
        return np.array(image)

    for channel in range(channels):
        known = measured[..., channel]
        values = resized(np.where(known, pixels[..., channel], 0).astype(np.float32))
        if known.all():
            there = np.ones(values.shape, np.bool_)
        else:
            share = resized(known.astype(np.float32))
            there = share >= MIN_MEASURED
            values /= np.maximum(share, MIN_MEASURED)
        if pixels.dtype.kind == "u":
            values = np.rint(values)  # weights are none below 0, so that these are within the type
        canvas[top:bottom, left:right, channel] = np.where(there, values, 0)
        gaps[top:bottom, left:right, channel] = ~there
    return Fitted(canvas, gaps)


def rendition(pixels: Pixels, measured: Mask) -> npt.NDArray[np.uint8]:
    """Return a picture (H, W, 3) of the first three bands, or of the first one, by which near copies are found.

    Wider types than 8 bits are mapped by the mean and the standard deviation of the picture's coarse features, which
    copies that were resized or saved anew have in common; its extremes are not.
    """
    chosen = [0, 1, 2] if pixels.shape[2] >= 3 else [0, 0, 0]
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels[..., chosen])
    values, known = pixels[..., chosen].astype(np.float32), measured[..., chosen]
    values = np.where(known, values, values.mean(where=known, dtype=np.float64) if known.any() else 0).astype(
        np.float32
    )
    bands = [Image.fromarray(np.ascontiguousarray(values[..., number])) for number in range(3)]
    coarse = np.stack([np.asarray(band.resize((_COARSE_SIDE, _COARSE_SIDE), Image.Resampling.BOX)) for band in bands])
    spread = float(coarse.std(dtype=np.float64)) or 1.0
    grey = 128 + _GREY_LEVELS_PER_STD * (values - np.float32(coarse.mean(dtype=np.float64))) / np.float32(spread)
    return grey.round().clip(0, 255).astype(np.uint8)
