"""The operations of `colour` and `noise`, in place, for images that are all to be changed.

The values are the same up to last bits. The last bits of an operation depend neither on where in a batch an image is
nor on threads: each operation sums in a fixed order, or rounds each value separately. For this reason, none uses
`addcmul` or `alpha`, which round once for most values and twice for those at the end of a piece of memory.

All functions change images (N, C, S, S) in [0, 1] by numbers (N,), or by what is computed from these for all images of
a batch at once.
"""

import torch
from torch import Tensor

from ssl_pipeline.augment.geometry import combine_rows

__all__ = [
    "blur",
    "blur_taps",
    "brightness",
    "contrast",
    "gaussian_noise",
    "grayscale",
    "hue",
    "hue_opposites",
    "saturation",
    "saturation_mixtures",
    "solarize",
]

LUMA = (0.2989, 0.587, 0.114)
"""Weights of ITU-R 601, as in `colour.grey`."""


def brightness(images: Tensor, factor: Tensor) -> None:
    """Multiply by the factor."""
    images.mul_(_each(factor)).clamp_(max=1)


def contrast(images: Tensor, factor: Tensor, is_rgb: bool = True) -> None:
    """Scale differences from the image's mean luma by the factor; if there are no colours, from each channel's mean.

    The mean luma is the luma of the mean colour.
    """
    mean = images.mean(-1, keepdim=True).mean(-2, keepdim=True)  # one axis after the other, as `colour.contrast` does
    if is_rgb:
        red, green, blue = (weight * mean[:, i : i + 1] for i, weight in enumerate(LUMA))
        mean = red + green + blue
    factor = _each(factor)
    images.mul_(factor).add_((1 - factor) * mean).clamp_(0, 1)


def saturation(images: Tensor, mixtures: Tensor) -> None:
    """Mix the three colours of RGB, by `saturation_mixtures` (N, 3, 3)."""
    torch.clamp(_mix(images, mixtures), 0, 1, out=images)


def saturation_mixtures(factor: Tensor) -> Tensor:
    """Return the shares (N, 3, 3) of all colours in each, which scale differences from a pixel's luma."""
    factor = factor[:, None, None]
    return factor * torch.eye(3) + (1 - factor) * torch.tensor(LUMA)


def grayscale(images: Tensor) -> None:
    """Replace each pixel by its luma, in RGB."""
    luma = torch.tensor(LUMA).to(images.device, non_blocking=True)
    images.copy_(_mix(images, luma.expand(len(images), 1, 3)))


def hue(images: Tensor, opposites: Tensor) -> None:
    """Rotate the hue of HSV, in RGB, by `hue_opposites` (N, 3).

    Hues are places on a circle of length 6, with red at 0, green at 2 and blue at 4. A pixel's distance from red is
    2 + (green + blue - red - value) / chroma, whichever of the three is the largest; its sign is that of green - blue.
    The trapezoid of a colour is 1 for pixels within 1 of the place opposite the colour, and 0 for pixels at least 2
    away from it: that share of the chroma is missing from the value.
    """
    red, green, blue = images.unbind(1)
    value = torch.maximum(red, green)
    torch.maximum(value, blue, out=value)
    chroma = torch.minimum(red, green)
    torch.minimum(chroma, blue, out=chroma)
    torch.sub(value, chroma, out=chroma)
    place = green + blue
    place.sub_(red).sub_(value).div_(chroma.clamp(min=1e-12)).add_(2)  # greys have no hue; any will do
    place.copysign_(green - blue)
    missing = place[:, None] + opposites[..., None, None]
    missing.abs_().sub_(3).abs_().sub_(1).clamp_(0, 1).mul_(chroma[:, None])
    torch.sub(value[:, None], missing, out=images)


def hue_opposites(shift: Tensor) -> Tensor:
    """Return how far each colour's opposite lies behind red, (N, 3) in [-3, 3), for a shift (N,) in turns.

    Added to places in [-3, 3], they give distances in [-6, 6], each at most once around the circle.
    """
    return torch.remainder(6 * shift[:, None] - torch.tensor([0.0, 2.0, 4.0]), 6) - 3


def blur(images: Tensor, rows: Tensor, kernels: Tensor) -> None:
    """Blur with the rows (S, K) and kernels (N, S, K) of `blur_taps`."""
    rows = rows.expand(len(images), -1, -1)
    images.copy_(combine_rows(combine_rows(images, rows, kernels).transpose(2, 3), rows, kernels).transpose(2, 3))


def blur_taps(sigma: Tensor, radius: int, size: int) -> tuple[Tensor, Tensor]:
    """Return which rows (S, K) each row of a blurred image sees, reflected at borders, and Gaussian kernels (N, S, K).

    Args:
        sigma: Standard deviations (N,) of the kernels, in px.
        radius: Radius of the kernels, in px, less than S.
        size: Side of the images, S, in px.
    """
    offsets = torch.arange(-radius, radius + 1)
    kernels = (-0.5 * (offsets / sigma[:, None]).square()).exp()
    kernels = (kernels / kernels.sum(-1, keepdim=True))[:, None].expand(-1, size, -1)
    rows = (torch.arange(size)[:, None] + offsets).abs()
    return (size - 1 - (size - 1 - rows).abs()).to(torch.int32), kernels


def solarize(images: Tensor, threshold: float) -> None:
    """Invert values at or above the threshold."""
    images.copy_(torch.where(images >= threshold, 1 - images, images))


def gaussian_noise(images: Tensor, noise: Tensor, std: float) -> None:
    """Add standard normal noise (N, C, S, S) times std, clamped to [0, 1]."""
    images.add_(noise * std).clamp_(0, 1)


def _mix(images: Tensor, mixtures: Tensor) -> Tensor:
    """Return mixtures (N, M, 3) of the three channels: (N, M, S, S)."""
    n, made = mixtures.shape[:2]
    channels = torch.arange(3, device=images.device, dtype=torch.int32).expand(n, made, 3)
    return combine_rows(images.flatten(2)[:, None], channels, mixtures).view(n, made, *images.shape[2:])


def _each(numbers: Tensor) -> Tensor:
    return numbers[:, None, None, None]
