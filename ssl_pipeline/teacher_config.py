"""Option `teacher` of pretext tasks that learn from another encoder."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from ssl_pipeline.config import Rival
from ssl_pipeline.value_types import Count, Positive

__all__ = ["Teacher"]

_Mean = tuple[float, float, float]
_Std = tuple[Positive, Positive, Positive]


class Teacher(Rival):
    """Encoder that teaches: a path ending in .onnx or .safetensors, or the name of a backbone with published weights.

    A file of this project describes its images itself. For other files, state what cannot be read from the file:
    `{weights: x.onnx, size: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}`.

    Attributes:
        weights: Path of the file, or name of the backbone.
        backbone: Network of a .safetensors file that contains only weights.
        size: Side in px of the images that the encoder takes; None to read it from the file.
        mean: Mean of red, green and blue, in [0, 1], by which images are normalised; None to read it from the file.
        std: Standard deviations of red, green and blue; required if `mean` is set.

    Examples:
        >>> Teacher.model_validate("teachers/large.onnx").weights
        'teachers/large.onnx'
        >>> Teacher.model_validate({"weights": "theirs.onnx", "size": 224, "mean": [0.5] * 3, "std": [0.5] * 3}).size
        224
    """

    size: Annotated[Count, Field(le=4096)] | None = None
    mean: _Mean | None = None
    std: _Std | None = None

    @model_validator(mode="after")
    def _mean_and_std_go_together(self) -> Self:
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: set both or neither")
        return self
