"""Blur and noise: pure batched functions of images in [0, 1]."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["blur_radius", "gaussian_blur", "gaussian_noise"]


def blur_radius(largest_sigma: float, size: int) -> int:
    """Return the radius of the kernel in px: three times the largest sigma, but less than the side of the image."""
    return min(math.ceil(3 * largest_sigma), size - 1)


def gaussian_blur(images: Tensor, sigma: Tensor, chosen: Tensor, radius: int) -> Tensor:
    """Blur the chosen images, with reflection at borders, as torchvision does with kernel size 2 * radius + 1.

    Args:
        images: Images (N, C, S, S).
        sigma: Standard deviations (N,) of the kernels, in px.
        chosen: Choice (N,) bool of the images to blur. The others keep every bit, as their kernel is a single 1.
        radius: Radius of the kernel in px, less than S.

    Returns:
        Images (N, C, S, S).
    """
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    kernel = (-0.5 * (offsets / sigma[:, None]).square()).exp()
    kernel = torch.where(chosen[:, None], kernel / kernel.sum(-1, keepdim=True), (offsets == 0).float())
    centre, *sides = kernel[:, radius:, None, None, None].unbind(1)  # each (N, 1, 1, 1)
    size = images.shape[-1]
    for dim, margins in ((3, (radius, radius, 0, 0)), (2, (0, 0, radius, radius))):
        padded = F.pad(images, margins, mode="reflect")
        images = centre * images
        for reach, tap in enumerate(sides, 1):  # neighbours on both sides have the same weight
            images = images + tap * (
                padded.narrow(dim, radius - reach, size) + padded.narrow(dim, radius + reach, size)
            )
    return images


def gaussian_noise(images: Tensor, noise: Tensor, std: Tensor) -> Tensor:
    """Add standard normal noise (N, C, S, S) times std (N,), clamped to [0, 1]; std 0 changes nothing."""
    return (images + std[:, None, None, None] * noise).clamp(0, 1)
