"""The operations of `colour` and `noise` once more, in place, for images that are all to be changed.

The values are the same but for last bits. No operation's last bit depends on where in a batch an image lies, or on
threads: each is a sum in an order of its own, or rounds each value by itself. Hence no `addcmul` and no `alpha`, which
round once for most values and twice for those at the end of a piece of memory.

All change images (N, C, S, S) in [0, 1] by numbers (N,) on the same device.
"""

import torch
from torch import Tensor

from ssl_pipeline.augment.geometry import combine_rows

__all__ = ["blur", "brightness", "contrast", "gaussian_noise", "grayscale", "hue", "saturation", "solarize"]

LUMA = (0.2989, 0.587, 0.114)
"""ITU-R 601, as `colour.grey` has it."""


def brightness(images: Tensor, factor: Tensor) -> None:
    """Multiply by the factor."""
    images.mul_(_each(factor)).clamp_(max=1)


def contrast(images: Tensor, factor: Tensor, is_rgb: bool = True) -> None:
    """Scale differences from the image's mean luma by the factor; where there are no colours, from each channel's mean.

    The mean luma is the luma of the mean colour.
    """
    mean = images.mean(-1, keepdim=True).mean(-2, keepdim=True)  # one axis after the other, as `colour.contrast` does
    if is_rgb:
        red, green, blue = (weight * mean[:, i : i + 1] for i, weight in enumerate(LUMA))
        mean = red + green + blue
    factor = _each(factor)
    images.mul_(factor).add_((1 - factor) * mean).clamp_(0, 1)


def saturation(images: Tensor, factor: Tensor) -> None:
    """Scale differences from each pixel's luma by the factor, in RGB: a mixture of the three colours."""
    own = factor[:, None, None] * torch.eye(3, device=images.device)
    mixtures = own + (1 - factor[:, None, None]) * torch.tensor(LUMA, device=images.device)
    torch.clamp(_mix(images, mixtures), 0, 1, out=images)


def grayscale(images: Tensor) -> None:
    """Give each pixel its luma, in RGB."""
    images.copy_(_mix(images, torch.tensor(LUMA, device=images.device).expand(len(images), 1, 3)))


def hue(images: Tensor, shift: Tensor) -> None:
    """Turn the hue of HSV by the shift, in turns, in RGB.

    Hues are places on a circle of length 6, with red at 0, green at 2 and blue at 4. A pixel's distance from red is
    2 + (green + blue - red - value) / chroma, whichever of the three is the largest; the sign is that of green - blue.
    A colour's trapezoid is 1 where the pixel is within 1 of the place opposite the colour, 0 where it is at least 2
    away: that share of the chroma is missing from the value.
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
    turned = torch.remainder(6 * shift[:, None] - torch.tensor([0.0, 2.0, 4.0], device=images.device), 6) - 3
    missing = place[:, None] + _each(turned)  # from the opposite of each colour, in [-6, 6]
    missing.abs_().sub_(3).abs_().sub_(1).clamp_(0, 1).mul_(chroma[:, None])
    torch.sub(value[:, None], missing, out=images)


def blur(images: Tensor, sigma: Tensor, radius: int) -> None:
    """Blur by a Gaussian kernel of that radius in px, less than S, reflecting at borders."""
    size, device = images.shape[-1], images.device
    offsets = torch.arange(-radius, radius + 1, device=device)
    kernel = (-0.5 * (offsets / sigma[:, None]).square()).exp()
    kernel = (kernel / kernel.sum(-1, keepdim=True))[:, None].expand(-1, size, -1)
    rows = (torch.arange(size, device=device)[:, None] + offsets).abs()
    rows = (size - 1 - (size - 1 - rows).abs()).to(torch.int32).expand(len(images), -1, -1)
    blurred = combine_rows(images, rows, kernel).transpose(2, 3)
    images.copy_(combine_rows(blurred, rows, kernel).transpose(2, 3))


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
    return numbers[..., None, None] if numbers.dim() == 2 else numbers[:, None, None, None]
