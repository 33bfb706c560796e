"""sRGB values and the light that they represent: pure batched functions of images in [0, 1], on any device.

There are no matrix products, because autocast would round them to half precision.

Source: IEC 61966-2-1.
"""

import torch
from torch import Tensor

__all__ = ["LUMINANCE", "luminance", "to_linear", "to_srgb"]

LUMINANCE = (0.2126729, 0.7151522, 0.0721750)
"""The luminance of red, green and blue light; the three add up to 1, up to rounding."""


def luminance(images: Tensor) -> Tensor:
    """Return the sRGB value (N, 1, ...) of the grey that is as luminous as each pixel of images (N, 3, ...) in [0, 1].

    Colours of equal L* become equal, and greys do not change.
    """
    red, green, blue = to_linear(images).unbind(1)
    r, g, b = (weight / sum(LUMINANCE) for weight in LUMINANCE)
    return to_srgb((r * red + g * green + b * blue)[:, None])


def to_linear(images: Tensor) -> Tensor:
    """Return the light, in [0, 1], of sRGB values; those outside [0, 1] are clamped."""
    images = images.clamp(0, 1)
    return torch.where(images <= 0.04045, images / 12.92, ((images + 0.055) / 1.055) ** 2.4)


def to_srgb(light: Tensor) -> Tensor:
    """Return the sRGB values, in [0, 1], of light in [0, 1]."""
    return torch.where(light <= 0.0031308, light * 12.92, 1.055 * light.clamp(min=0.0031308) ** (1 / 2.4) - 0.055)
