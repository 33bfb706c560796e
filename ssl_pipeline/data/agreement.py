"""What the images of a data set have in common, decided once for all; those that are unlike the others are told."""

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
    """What is kept of images' values: `ingest.pixels`, a name, or a name with options.

    Attributes:
        name: rgb8: each image becomes 8-bit RGB. as_is: each keeps its bands and type, in which all must be alike.
        full_scale: The values that count as 0 and 1; None: those of 8 bits, of as many bits of 16 as any image uses,
            0 and 1 for floats that lie between, or else the lowest and highest that any image has.
        rgb: The bands that are red, green and blue; None: what the files say.
        nodata: The value of pixels that were not measured; None: what the files say.
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
            raise ValueError("rgb8 takes no options: leave them out, or take as_is")
        if self.full_scale and self.full_scale[0] >= self.full_scale[1]:
            raise ValueError(f"full_scale must be [lowest, highest], got {list(self.full_scale)}")
        return self


RGB8_PIXELS = PixelsChoice(name="rgb8")


class Agreement(NamedTuple):
    """What was decided for a data set.

    Attributes:
        spec: What the values of images mean.
        odd: Path -> why an image cannot be in the data set.
        remarks: What a person should know, one sentence each.
    """

    spec: ImageSpec
    odd: dict[str, RejectedError]
    remarks: list[str]


def agree(images: Mapping[str, Values], choice: PixelsChoice) -> Agreement:
    """Decide what the images of a data set have in common: what most of them have.

    Args:
        images: Path -> what is known of its values.
        choice: `ingest.pixels`, as_is.

    Raises:
        PipelineError: Options do not fit the images, or files contradict each other about what was not measured.
    """
    if not images:
        return Agreement(RGB8, {}, [])
    kinds = Counter((values.channels, values.dtype) for values in images.values())
    channels, dtype = max(kinds, key=lambda kind: (kinds[kind], kind[0], _BITS_PER_TYPE[kind[1]]))
    wanted = f"{counted(channels, 'band')} of {dtype}"
    odd = {
        path: RejectedError(
            "unlike the others",
            f"{counted(values.channels, 'band')} of {values.dtype}, and most images have {wanted}; "
            "ingest.pixels: rgb8 takes all",
        )
        for path, values in images.items()
        if (values.channels, values.dtype) != (channels, dtype)
    }
    kept = {path: values for path, values in images.items() if path not in odd}
    alike = list(kept.values())
    if choice.rgb and max(choice.rgb) >= channels:
        raise PipelineError(f"ingest.pixels.rgb: {list(choice.rgb)}, but images have {wanted}, which count from 0.")
    low, high = choice.full_scale or _full_scale(alike)
    if dtype != "float32" and not 0 <= low < high <= 2 ** _BITS_PER_TYPE[dtype] - 1:
        raise PipelineError(f"ingest.pixels.full_scale: [{low:g}, {high:g}], but images have {wanted}.")
    is_rgb = channels >= 3 and all(values.is_rgb for values in alike)
    spec = ImageSpec(
        channels=channels,
        dtype=dtype,
        low=low,
        high=high,
        rgb=choice.rgb or ((0, 1, 2) if is_rgb else None),
        nodata=_nodata(kept, choice, dtype),
    )
    return Agreement(spec, odd, [f"Images are kept as they are: {spec}.", *_remarks(alike, spec, choice)])


def _full_scale(images: list[Values]) -> tuple[float, float]:
    """Return the scale of the data set, of which twelve bits in sixteen are twelve."""
    low, high = min(values.low for values in images), max(values.high for values in images)
    if images[0].dtype == "uint8":
        return 0.0, 255.0
    if images[0].dtype == "uint16":
        return 0.0, float(2 ** max(8, int(high).bit_length()) - 1)
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high if high > low else low + 1.0


def _nodata(images: Mapping[str, Values], choice: PixelsChoice, dtype: DType) -> float | None:
    """Return the one value that stands for what was not measured: a graph treats all images alike, so the store does.

    A value that the type cannot hold, such as -9999 in 8 bits, stands nowhere, and counts as none.
    """
    if choice.nodata is not None:
        if not _holds(dtype, choice.nodata):
            raise PipelineError(f"ingest.pixels.nodata: {choice.nodata:g}, but {dtype} cannot hold it: leave it out.")
        return choice.nodata
    named = sorted({values.nodata for values in images.values() if values.nodata is not None})
    named = [value for value in named if _holds(dtype, value)]
    if len(named) > 1:
        listed = ", ".join(f"{value:g}" for value in named[:5])
        raise PipelineError(
            f"Files name {len(named)} different values for pixels that were not measured ({listed}): name the one that "
            "counts, such as ingest.pixels: {name: as_is, nodata: 0}, and convert the others."
        )
    if not named:
        return None
    silent = [path for path, one in images.items() if one.nodata != named[0] and one.low <= named[0] <= one.high]
    if silent:
        raise PipelineError(
            f"Some files name {named[0]:g} as the value of pixels that were not measured. "
            f"{counted(len(silent), 'other does', 'others do')} not, and may hold it as a value that was measured "
            f"({shown(silent[0], 200)}, for one). Say what it is in all files: ingest.pixels: {{name: as_is, nodata: "
            f"{named[0]:g}}} where it was not measured, or another value of nodata that occurs nowhere."
        )
    return named[0]


def _holds(dtype: DType, value: float) -> bool:
    """Say whether a type has a value."""
    if dtype == "float32":
        return abs(value) <= float(np.finfo(np.float32).max)
    return value.is_integer() and 0 <= value < 2 ** _BITS_PER_TYPE[dtype]


def _remarks(images: list[Values], spec: ImageSpec, choice: PixelsChoice) -> list[str]:
    remarks = []
    beyond = sum(values.low < spec.low or values.high > spec.high for values in images)
    if beyond:
        remarks.append(
            f"{counted(beyond, 'image has', 'images have')} values outside of ingest.pixels.full_scale, which count "
            "as its nearest end."
        )
    if spec.dtype == "float32" and choice.full_scale is None and (spec.low, spec.high) != (0.0, 1.0):
        remarks.append(
            "The lowest and the highest value of all images are their full scale; where few pixels have such values, "
            "name a narrower one in ingest.pixels.full_scale."
        )
    gaps = [values.unmeasured for values in images if values.unmeasured]
    if gaps:
        remarks.append(
            f"{counted(len(gaps), 'image has', 'images have')} pixels that were not measured, on average "
            f"{sum(gaps) / len(gaps):.1%} of them: the mean of their channel stands there."
        )
    return remarks
