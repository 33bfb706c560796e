"""Fit images with any number of bands to canvases without mixing unmeasured pixels into measured ones."""

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
"""Share of the filter weights of a canvas pixel that must fall on measured pixels; unmeasured ones are then ignored."""

_COARSE_SIDE = 8  # coarse features per side
_GREY_LEVELS_PER_STD = 40  # grey levels per standard deviation

Mask = npt.NDArray[np.bool_]
Box = tuple[int, int, int, int]


class Values(NamedTuple):
    """Summary of an image's values, from which a data set derives one `ImageSpec`.

    Attributes:
        channels: Number of bands.
        dtype: Type of the values.
        is_rgb: Whether the first three bands are red, green and blue.
        low: Lowest measured value.
        high: Highest measured value.
        nodata: Value by which the file marks unmeasured pixels; None if it names none.
        unmeasured: Share of the values that are unmeasured, in [0, 1).
    """

    channels: int
    dtype: DType
    is_rgb: bool
    low: float
    high: float
    nodata: float | None
    unmeasured: float


class Fitted(NamedTuple):
    """A canvas (size, size, C), and the mask (size, size, C) of its gaps: borders and unmeasured parts."""

    canvas: Pixels
    gaps: Mask


def is_measured(pixels: Pixels, nodata: float | None) -> Mask:
    """Return the mask (H, W, C) of measured values: those that are finite and differ from `nodata`."""
    found: Mask = np.isfinite(pixels) if pixels.dtype.kind == "f" else np.ones(pixels.shape, np.bool_)
    if nodata is not None:
        found &= pixels != np.asarray(nodata).astype(np.float32 if pixels.dtype.kind == "f" else np.float64)
    return found


def refuse_other_nodata(pixels: Pixels, nodata: float | None, model: ImageSpec) -> None:
    """Refuse an image if a model would mistake its unmeasured pixels for measured ones.

    Args:
        pixels: Values of the image, (H, W, C).
        nodata: Value by which the file marks unmeasured pixels; None if it names none.
        model: Specification of the images that the model accepts.

    Raises:
        RejectedError: The image has such pixels; the message names both values.
    """
    if nodata is None or not (is_measured(pixels, model.nodata) & ~is_measured(pixels, nodata)).any():
        return
    known = "none" if model.nodata is None else f"{model.nodata:g}"
    instead = "NaN" if model.dtype == "float32" else known
    raise RejectedError(
        "not what the model takes",
        f"its file marks unmeasured pixels with {nodata:g}, but the model's value for them is {known}"
        + ("" if instead == "none" else f": write {instead} there"),
    )


def values_of(pixels: Pixels, measured: Mask, is_rgb: bool, nodata: float | None) -> Values:
    """Summarise the values of an image (H, W, C), at least one of which must be measured."""
    dtype = cast("DType", pixels.dtype.name)
    low = float(pixels.min(where=measured, initial=pixels.max(where=measured, initial=_least(pixels))))
    high = float(pixels.max(where=measured, initial=_least(pixels)))
    return Values(pixels.shape[2], dtype, is_rgb, low, high, nodata, 1 - float(measured.mean()))


def _least(pixels: Pixels) -> int | float:
    return float(np.finfo(np.float32).min) if pixels.dtype.kind == "f" else 0


def fit_bands(pixels: Pixels, measured: Mask, size: int, source: Box, target: Box) -> Fitted:
    """Fit each band to a canvas in 32-bit floats, with the filter of `ssl_pipeline.data.decode.to_canvas`.

    Args:
        pixels: Values of the image, (H, W, C).
        measured: Mask of the measured values, (H, W, C) bool.
        size: Side of the canvas, px.
        source: Box of the image that is used, in px.
        target: Box of the canvas that it fills, in px.
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
            values = np.rint(values)  # no weight is negative, so these values fit the type
        canvas[top:bottom, left:right, channel] = np.where(there, values, 0)
        gaps[top:bottom, left:right, channel] = ~there
    return Fitted(canvas, gaps)


def rendition(pixels: Pixels, measured: Mask) -> npt.NDArray[np.uint8]:
    """Return a picture (H, W, 3) of the first three bands, or of the first one, for the search for near copies.

    Types wider than 8 bits are mapped to grey levels by the mean and the standard deviation of coarse features of the
    picture. Unlike its extremes, these survive resizing and saving again.
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
