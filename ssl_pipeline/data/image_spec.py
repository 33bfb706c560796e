"""Meaning of the values of a data set's images, in one record that is used from the store to the metadata of graphs.

This module imports neither torch nor Pillow.
"""

from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from ssl_pipeline.terminal import counted
from ssl_pipeline.validation import Checked

__all__ = ["MAX_CHANNELS", "RGB8", "DType", "ImageSpec", "Pixels"]

MAX_CHANNELS = 16

DType = Literal["uint8", "uint16", "float32"]
Pixels = npt.NDArray[Any]
"""Stored images (..., H, W, C). Their type is known only at run time, from an `ImageSpec`."""

_FLOAT_LEVELS = 65535
Band = Annotated[int, Field(ge=0, lt=MAX_CHANNELS)]


class ImageSpec(Checked):
    """Properties that all images of a data set share.

    Attributes:
        channels: Number C of channels (bands) of an image.
        dtype: Type of a value.
        low: Lowest value of the full scale, which becomes 0, in the units of the files.
        high: Highest value of the full scale, which becomes 1; 4095 for 12-bit values in 16-bit files.
        rgb: Indices of the channels that hold sRGB red, green and blue; None if there are none or they are unknown.
        nodata: Value that marks unmeasured pixels; None if there is none. Floats that are not finite are unmeasured in
            any case.

    Examples:
        >>> RGB8.channels, RGB8.dtype, RGB8.is_rgb
        (3, 'uint8', True)
    """

    channels: Annotated[int, Field(ge=1, le=MAX_CHANNELS)]
    dtype: DType
    low: float
    high: float
    rgb: tuple[Band, Band, Band] | None = None
    nodata: float | None = None

    @model_validator(mode="after")
    def _bands_and_scale_make_sense(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be less than high, got {self.low:g} and {self.high:g}")
        if self.rgb and (len(set(self.rgb)) < 3 or max(self.rgb) >= self.channels):
            raise ValueError(f"rgb must name three of the {self.channels} channels, from 0, got {list(self.rgb)}")
        return self

    @property
    def numpy_dtype(self) -> np.dtype[np.uint8 | np.uint16 | np.float32]:
        """NumPy type of a value."""
        return np.dtype(self.dtype)

    @property
    def level(self) -> float:
        """Step between neighbouring values as a share of the full scale; for floats, the step of 16 bits."""
        return 1 / (_FLOAT_LEVELS if self.dtype == "float32" else self.high - self.low)

    @property
    def is_rgb(self) -> bool:
        """Whether the channels are exactly red, green and blue, in this order."""
        return self.channels == 3 and self.rgb == (0, 1, 2)

    @property
    def may_lack_pixels(self) -> bool:
        """Whether an image may have unmeasured pixels."""
        return self.nodata is not None or self.dtype == "float32"

    def __str__(self) -> str:
        bands = "RGB" if self.is_rgb else counted(self.channels, "band")
        return f"{bands} of {self.dtype}, from {self.low:g} to {self.high:g}"


RGB8 = ImageSpec(channels=3, dtype="uint8", low=0.0, high=255.0, rgb=(0, 1, 2))
"""Specification of 8-bit RGB, to which images are converted unless `ingest.pixels` is `as_is`."""
