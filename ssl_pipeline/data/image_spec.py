"""What the numbers of a data set's images mean: one record, from the store to the metadata of graphs.

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
"""Images as they are stored, (..., H, W, C); an `ImageSpec` tells their type, which is known at run time alone."""

_FLOAT_LEVELS = 65535
Band = Annotated[int, Field(ge=0, lt=MAX_CHANNELS)]


class ImageSpec(Checked):
    """What is common to all images of a data set.

    Attributes:
        channels: C, the number of bands of an image.
        dtype: The type of a value.
        low: The value that counts as 0, in the units of the files.
        high: The value that counts as 1. The scale is that of the data set: 12 bits in 16 have high = 4095.
        rgb: The channels that show red, green and blue in sRGB; None where there are none, or nobody knows which.
        nodata: The value of a pixel that was not measured; None where there is no such value. Floats that are not
            finite were not measured either.

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
        """The type of a value, for NumPy."""
        return np.dtype(self.dtype)

    @property
    def level(self) -> float:
        """The step between neighbouring values, where 1 is the full scale; that of 16 bits for floats."""
        return 1 / (_FLOAT_LEVELS if self.dtype == "float32" else self.high - self.low)

    @property
    def is_rgb(self) -> bool:
        """Whether an image is red, green and blue, and nothing else."""
        return self.channels == 3 and self.rgb == (0, 1, 2)

    @property
    def may_lack_pixels(self) -> bool:
        """Whether an image may have pixels that were not measured."""
        return self.nodata is not None or self.dtype == "float32"

    def __str__(self) -> str:
        bands = "RGB" if self.is_rgb else counted(self.channels, "band")
        return f"{bands} of {self.dtype}, from {self.low:g} to {self.high:g}"


RGB8 = ImageSpec(channels=3, dtype="uint8", low=0.0, high=255.0, rgb=(0, 1, 2))
"""What any image can be made into, and is unless `ingest.pixels` says otherwise."""
