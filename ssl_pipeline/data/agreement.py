"""Decide, once for a whole data set, on the bands, type and scale that its images share, and reject the exceptions."""

from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from ssl_pipeline.data.image_spec import MAX_CHANNELS, RGB8, DType, ImageSpec
from ssl_pipeline.data.measured import Values
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import counted, shown
from ssl_pipeline.validation import Checked

__all__ = ["RGB8_PIXELS", "Agreement", "PixelsChoice", "agree"]

Band = Annotated[int, Field(ge=0, lt=MAX_CHANNELS)]
_BITS_PER_TYPE = {"uint8": 8, "uint16": 16, "float32": 32}


class PixelsChoice(Checked):
    """How pixel values are stored: `ingest.pixels`, a name or a name with options.

    Attributes:
        name: `rgb8` converts each image to 8-bit RGB. `as_is` keeps bands and type, which must be the same for all
            images.
        full_scale: Lowest and highest value, which become 0 and 1. None derives them from the images: 0 and 255 for
            uint8; 0 and 2^b - 1 for uint16, where b is the number of bits that the images use, at least 8; 0 and 1 for
            floats within [0, 1]; the lowest and the highest value of all images for other floats.
        rgb: Indices of the red, green and blue bands, from 0; None reads them from the files.
        nodata: Value that marks unmeasured pixels; None reads it from the files.
    """

    name: Literal["rgb8", "as_is"]
    full_scale: tuple[float, float] | None = None
    rgb: tuple[Band, Band, Band] | None = None
    nodata: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_bare_name_has_no_options(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _options_make_sense(self) -> Self:
        if self.name == "rgb8" and self.model_dump(exclude={"name"}, exclude_none=True):
            raise ValueError("rgb8 takes no options: remove them, or use as_is")
        if self.full_scale and self.full_scale[0] >= self.full_scale[1]:
            raise ValueError(f"full_scale must be [lowest, highest], got {list(self.full_scale)}")
        return self


RGB8_PIXELS = PixelsChoice(name="rgb8")


class Agreement(NamedTuple):
    """What was decided for a data set.

    Attributes:
        spec: Meaning of the images' values.
        odd: Reason for each rejected image, by path.
        remarks: Remarks for the user, one sentence each.
    """

    spec: ImageSpec
    odd: dict[str, RejectedError]
    remarks: list[str]


def agree(images: Mapping[str, Values], choice: PixelsChoice) -> Agreement:
    """Choose the bands and type of the majority, and derive the meaning of the values from the images that have them.

    Args:
        images: Summary of each image's values, by path.
        choice: Value of `ingest.pixels`, with the name `as_is`.

    Raises:
        PipelineError: The options do not fit the images, or files disagree on which pixels are unmeasured.
    """
    if not images:
        return Agreement(RGB8, {}, [])
    kinds = Counter((values.channels, values.dtype) for values in images.values())
    channels, dtype = max(kinds, key=lambda kind: (kinds[kind], kind[0], _BITS_PER_TYPE[kind[1]]))
    wanted = f"{counted(channels, 'band')} of {dtype}"
    odd = {
        path: RejectedError(
            "unlike the others",
            f"{counted(values.channels, 'band')} of {values.dtype}, but most images have {wanted}; "
            "ingest.pixels: rgb8 accepts both",
        )
        for path, values in images.items()
        if (values.channels, values.dtype) != (channels, dtype)
    }
    kept = {path: values for path, values in images.items() if path not in odd}
    alike = list(kept.values())
    if choice.rgb and max(choice.rgb) >= channels:
        raise PipelineError(
            f"ingest.pixels.rgb: {list(choice.rgb)}, but images have {wanted}. Name bands between 0 and {channels - 1}."
        )
    low, high = choice.full_scale or _full_scale(alike)
    if dtype != "float32" and not 0 <= low < high <= 2 ** _BITS_PER_TYPE[dtype] - 1:
        raise PipelineError(
            f"ingest.pixels.full_scale: [{low:g}, {high:g}], but images have {wanted}. "
            f"Name values between 0 and {2 ** _BITS_PER_TYPE[dtype] - 1}."
        )
    is_rgb = channels >= 3 and all(values.is_rgb for values in alike)
    spec = ImageSpec(
        channels=channels,
        dtype=dtype,
        low=low,
        high=high,
        rgb=choice.rgb or ((0, 1, 2) if is_rgb else None),
        nodata=_nodata(kept, choice, dtype),
    )
    return Agreement(spec, odd, [f"Images keep their bands and type: {spec}.", *_remarks(alike, spec, choice)])


def _full_scale(images: list[Values]) -> tuple[float, float]:
    """Return the lowest and highest value of the scale; 12-bit values in 16-bit files get a 12-bit scale."""
    low, high = min(values.low for values in images), max(values.high for values in images)
    if images[0].dtype == "uint8":
        return 0.0, 255.0
    if images[0].dtype == "uint16":
        return 0.0, float(2 ** max(8, int(high).bit_length()) - 1)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high if high > low else low + 1.0


def _nodata(images: Mapping[str, Values], choice: PixelsChoice, dtype: DType) -> float | None:
    """Return the value that marks unmeasured pixels: one for all images, because a graph treats all images alike.

    Values that the type cannot hold, such as -9999 in uint8, occur in no pixel and are ignored.
    """
    if choice.nodata is not None:
        if not _holds(dtype, choice.nodata):
            raise PipelineError(f"ingest.pixels.nodata: {dtype} cannot hold the value {choice.nodata:g}. Remove it.")
        return choice.nodata
    named = sorted({values.nodata for values in images.values() if values.nodata is not None})
    named = [value for value in named if _holds(dtype, value)]
    if len(named) > 1:
        listed = ", ".join(f"{value:g}" for value in named[:5])
        raise PipelineError(
            f"The files mark unmeasured pixels with {len(named)} different values ({listed}). Choose one, such as "
            "ingest.pixels: {name: as_is, nodata: 0}, and convert the files that use another."
        )
    if not named:
        return None
    silent = [path for path, one in images.items() if one.nodata != named[0] and one.low <= named[0] <= one.high]
    if silent:
        raise PipelineError(
            f"Some files mark unmeasured pixels with {named[0]:g}; {counted(len(silent), 'other does', 'others do')} "
            f"not, and may contain it as a measured value (such as {shown(silent[0], 200)}). If {named[0]:g} is "
            f"unmeasured in all files, set ingest.pixels: {{name: as_is, nodata: {named[0]:g}}}; otherwise, set nodata "
            "to a value that does not occur."
        )
    return named[0]


def _holds(dtype: DType, value: float) -> bool:
    """Return whether a type can represent a value."""
    if dtype == "float32":
        return abs(value) <= float(np.finfo(np.float32).max)
    return value.is_integer() and 0 <= value < 2 ** _BITS_PER_TYPE[dtype]


def _remarks(images: list[Values], spec: ImageSpec, choice: PixelsChoice) -> list[str]:
    remarks = []
    beyond = sum(values.low < spec.low or values.high > spec.high for values in images)
    if beyond:
        remarks.append(
            f"{counted(beyond, 'image has', 'images have')} values outside ingest.pixels.full_scale, which are clipped "
            "to it."
        )
    if spec.dtype == "float32" and choice.full_scale is None and (spec.low, spec.high) != (0.0, 1.0):
        remarks.append(
            "The full scale runs from the lowest to the highest value of all images. If only a few pixels come near "
            "these values, set a narrower ingest.pixels.full_scale."
        )
    gaps = [values.unmeasured for values in images if values.unmeasured]
    if gaps:
        remarks.append(
            f"{counted(len(gaps), 'image has', 'images have')} unmeasured pixels, on average "
            f"{sum(gaps) / len(gaps):.1%} of their values, which are filled with the mean of their channel."
        )
    return remarks
