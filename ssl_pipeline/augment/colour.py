"""Colour: pure batched functions of images (N, C, S, S) in [0, 1] and one number per image.

They equal torchvision's functional transforms. Each is the identity, to the bit, at the number that its docstring
names, so that a view that is to stay unchanged simply receives that number.
"""

import torch
from torch import Tensor

__all__ = ["brightness", "contrast", "grey", "hue", "saturation", "solarize"]


def grey(images: Tensor) -> Tensor:
    """Return the luma (ITU-R 601) of images (N, 3, S, S): (N, 1, S, S)."""
    red, green, blue = images.unbind(1)
    return (0.2989 * red + 0.587 * green + 0.114 * blue)[:, None]


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply by the factor (N,); 1 changes nothing."""
    return (images * _per_image(factor)).clamp(0, 1)


def contrast(images: Tensor, factor: Tensor, is_rgb: bool = True) -> Tensor:
    """Scale differences from the image's mean luma by the factor (N,); 1 changes nothing.

    If the channels are not red, green and blue, each is scaled around its own mean.
    """
    # One axis after the other: for a single image, a mean over both is split among threads, and rounds differently
    mean = (grey(images) if is_rgb else images).mean(-1, keepdim=True).mean(-2, keepdim=True)
    return _blend(images, mean, factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Scale differences from each pixel's luma by the factor (N,), in RGB; 1 changes nothing, 0 leaves greys."""
    return _blend(images, grey(images), factor)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Rotate the hue of HSV by the shift (N,), in turns, in RGB; 0 changes nothing.

    The conversion back from HSV has no branches: each channel is the value minus the chroma times a trapezoid of the
    hue.
    """
    red, green, blue = images.unbind(1)
    value, lowest = images.amax(1), images.amin(1)
    chroma = value - lowest
    safe = chroma.clamp(min=1e-12)  # greys have no hue; any will do
    sextant = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sextant = sextant + 6 * shift[:, None, None]
    channels = []
    for corner in (5.0, 3.0, 1.0):
        place = torch.remainder(sextant + corner, 6.0)
        channels.append(value - chroma * torch.minimum(place, 4 - place).clamp(0, 1))
    return torch.where(_per_image(shift) == 0, images, torch.stack(channels, 1))


def solarize(images: Tensor, threshold: float, chosen: Tensor) -> Tensor:
    """Invert values at or above the threshold in the chosen (N,) bool images."""
    return torch.where(_per_image(chosen) & (images >= threshold), 1 - images, images)


def _blend(images: Tensor, base: Tensor, factor: Tensor) -> Tensor:
    factor = _per_image(factor)
    return (factor * images + (1 - factor) * base).clamp(0, 1)


def _per_image(numbers: Tensor) -> Tensor:
    return numbers[:, None, None, None]
