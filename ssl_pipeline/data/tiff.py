"""Read TIFF files with any number of bands, through tifffile: interleaved, in planes, or with one band per page."""

import io
import logging
from collections.abc import Callable

import numpy as np
import tifffile

from ssl_pipeline.data.bands import Bands, CheckSize, read_by_pillow, storable
from ssl_pipeline.data.exif import Shot, told_by
from ssl_pipeline.data.image_spec import MAX_CHANNELS, Pixels
from ssl_pipeline.data.remarks import Note, RejectedError

__all__ = ["read_tiff"]

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # it also raises the errors that it logs

_NODATA, _ORIENTATION_TAG, _MAKE, _MODEL, _PHOTO = 42113, 274, 271, 272, 34665  # tags: GDAL's, and TIFF's own
_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB = 0, 1, 2  # photometric interpretations that need no conversion of colours
_TURN_OF_ORIENTATION: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.swapaxes(0, 1),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: pixels[::-1, ::-1].swapaxes(0, 1),
    8: lambda pixels: np.rot90(pixels),
}
"""Function that makes pixels upright, by orientation, as `ssl_pipeline.data.rgb` does for other formats."""


def read_tiff(content: bytes, check_size: CheckSize) -> Bands:
    """Read the first image of a TIFF with all its bands.

    Pillow reads files with colours other than RGB, and some of those that tifffile decompresses only with imagecodecs.

    Args:
        content: Bytes of the file.
        check_size: Function that refuses images by their size.

    Raises:
        RejectedError: The file cannot be read without loss.
    """
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        page = file.pages.first
        check_size((page.imagewidth, page.imagelength))
        if page.photometric not in (_MIN_IS_WHITE, _MIN_IS_BLACK, _RGB):
            return read_by_pillow(content, check_size)
        ends = (start + length for start, length in zip(page.dataoffsets, page.databytecounts, strict=True))
        if max(ends, default=0) > len(content):
            raise RejectedError("broken", "its end is missing")
        image = _series(file) or page
        axes = image.axes.translate(str.maketrans("CQ", "SS"))
        bands = image.shape[axes.index("S")] if "S" in axes else 1
        if bands > MAX_CHANNELS or set(axes) - set("YXS"):
            raise RejectedError("not supported", f"{bands} bands ({image.axes}); 1 to {MAX_CHANNELS} can be read")
        try:
            values = image.asarray(maxworkers=1)
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            return _by_pillow(content, check_size, bands, tifffile.COMPRESSION(page.compression).name)
        values = np.moveaxis(values, axes.index("S"), 2) if "S" in axes else values[..., None]
        pixels, remarks = storable(values)
        turn = _TURN_OF_ORIENTATION.get(int(page.tags.valueof(_ORIENTATION_TAG, 1)))
        return Bands(
            np.ascontiguousarray(turn(pixels) if turn else pixels),
            f"{bands} x {values.dtype}",
            page.photometric == _RGB and bands >= 3,
            _nodata(page.tags.valueof(_NODATA)),
            (*remarks, *_further(file, image, page)),
            _shot(page.tags),
        )


def _series(file: tifffile.TiffFile) -> tifffile.TiffPageSeries | None:
    """Return the pages as one image if the file declares them to be bands, as those of tifffile, ImageJ and OME do."""
    if not (file.is_shaped or file.is_imagej or file.is_ome):
        return None
    series = file.series[0]
    is_bands = series.axes in ("CYX", "QYX") and series.shape[0] <= MAX_CHANNELS
    return series if is_bands else None


def _further(file: tifffile.TiffFile, image: object, page: tifffile.TiffPage) -> list[Note]:
    if image is not page or len(file.pages) == 1:
        return []
    return [Note("have further pages, which were ignored", f"{len(file.pages) - 1:,} beside the first")]


def _shot(tags: tifffile.TiffTags) -> Shot:
    photo = tags.valueof(_PHOTO)  # tifffile has read this directory together with the other tags
    taken = photo.get("DateTimeOriginal") if isinstance(photo, dict) else None
    return told_by(tags.valueof(_MAKE), tags.valueof(_MODEL), taken)


def _nodata(text: object) -> float | None:
    try:
        value = float(str(text).strip("\0 "))
    except ValueError:
        return None
    return value if np.isfinite(value) else None  # floats that are not finite are unmeasured anyway


def _by_pillow(content: bytes, check_size: CheckSize, bands: int, compression: str) -> Bands:
    """Read images that tifffile cannot decompress by itself with Pillow: some 8-bit images, and 16-bit grey ones."""
    try:
        found = read_by_pillow(content, check_size)
    except RejectedError:
        found = None
    if found is None or found.pixels.shape[2] != bands:
        raise RejectedError(
            "not supported",
            f"{bands} bands compressed with {compression}: pip install imagecodecs, or save it with deflate",
        )
    return found
