"""Types of the numbers in params.yaml, with their ranges, and of its prompts."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from ssl_pipeline.validation import number_or

__all__ = ["Amount", "BatchSize", "Channel", "Count", "Devices", "Passes", "Positive", "Prompts", "Seed", "Share"]


Positive = Annotated[float, Field(gt=0.0)]
Amount = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Passes = Annotated[int, Field(ge=0)]
Devices = Annotated[Literal["auto"] | Count, number_or("auto")]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Channel = Annotated[int, Field(ge=0, le=255)]
BatchSize = Annotated[int, Field(ge=2)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


def _with_a_place(prompt: str) -> str:
    if "{}" not in prompt:
        raise ValueError("must contain {} in place of the class name, such as 'a picture of {}'")
    return prompt


Prompts = Annotated[list[Annotated[str, AfterValidator(_with_a_place)]], Field(min_length=1)]
