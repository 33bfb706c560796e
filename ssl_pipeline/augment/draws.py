"""The use of a view's random numbers: a column for each parameter, and the boxes of crops."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ssl_pipeline.augment.policy import Policy, RandomResizedCrop

__all__ = ["CHOICES", "PARAMETERS", "Draw", "between", "box", "plugin_columns"]

Draw = Mapping[str, Tensor]
"""Parameter -> (N,) numbers in [0, 1)."""

PARAMETERS = (
    "random_resized_crop",
    "random_resized_crop.area",
    "random_resized_crop.ratio",
    "random_resized_crop.top",
    "random_resized_crop.left",
    "horizontal_flip",
    "vertical_flip",
    "rotation",
    "rotation.angle",
    "color_jitter",
    "color_jitter.brightness",
    "color_jitter.contrast",
    "color_jitter.saturation",
    "color_jitter.hue",
    "grayscale",
    "gaussian_blur",
    "gaussian_blur.sigma",
    "solarize",
    "gaussian_noise",
)
"""The parameter that each column of random numbers determines. Every policy has all columns, so that turning an
operation off does not change the numbers of others. A bare name is the choice whether a view receives the operation: it
does if the number is below p. Columns of plugins' operations follow: for each operation its choice, then its own
numbers, hashed under its name."""

CHOICES = tuple(number for number, name in enumerate(PARAMETERS) if "." not in name)
"""The numbers of the columns that are choices."""


def plugin_columns(policy: Policy) -> dict[str, slice]:
    """Return the columns of each operation of a plugin, by name: its choice, then its own numbers."""
    columns, start = {}, len(PARAMETERS)
    for name, operation in policy.of_plugins.items():
        columns[name] = slice(start, start + 1 + operation.built.uniforms)
        start = columns[name].stop
    return columns


def between(uniform: Tensor, low: float, high: float) -> Tensor:
    """Return numbers in [low, high) for numbers in [0, 1)."""
    return low + (high - low) * uniform


def box(canvas: int, crop: RandomResizedCrop | None, draw: Draw) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the boxes that are cropped: (top, height) and (left, width), each (N,), in pixels and fractions of pixels.

    A side that would be longer than the canvas is cut to it. (torchvision draws again, up to ten times, which is not a
    function of a fixed number of random numbers.) Boxes are not rounded to whole pixels: a small canvas has few such
    boxes, and runtimes that differ in a last bit would occasionally round to different ones.
    """
    whole = torch.full_like(draw["random_resized_crop"], float(canvas))
    if crop is None:
        return (torch.zeros_like(whole), whole), (torch.zeros_like(whole), whole)
    chosen = draw["random_resized_crop"] < crop.p
    area = between(draw["random_resized_crop.area"], *crop.scale) * canvas**2
    ratio = between(draw["random_resized_crop.ratio"], *(math.log(limit) for limit in crop.ratio)).exp()
    height = torch.where(chosen, (area / ratio).sqrt().clamp(1, canvas), whole)
    width = torch.where(chosen, (area * ratio).sqrt().clamp(1, canvas), whole)
    top = draw["random_resized_crop.top"] * (canvas - height)
    left = draw["random_resized_crop.left"] * (canvas - width)
    return (top, height), (left, width)
