"""The option `teacher` of pretext tasks that are taught by another encoder."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from ssl_pipeline.config import Rival
from ssl_pipeline.value_types import Count, Positive

__all__ = ["Teacher"]

_Mean = tuple[float, float, float]
_Std = tuple[Positive, Positive, Positive]


class Teacher(Rival):
    """Another encoder that teaches: a path ending in .onnx or .safetensors, or a backbone with published weights.

    A file of this project says itself what it takes. Of others, what cannot be read from the file is stated: `{weights:
    x.onnx, size: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}`.

    Attributes:
        weights: The path, or the name of the backbone.
        backbone: The network, where a .safetensors file holds its weights alone.
        size: The side of the images that it takes, px; None: the file says it.
        mean: The mean of red, green and blue in [0, 1] that its images are normalised by; None: the file says it.
        std: Their standard deviations, which go with the mean.

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
            raise ValueError("mean and std go together: state both, or neither")
        return self
