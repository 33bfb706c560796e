"""CIE L*a*b* of sRGB images, as pure batched functions of channels (N, 3, ...), on any device.

L* is lightness, 0 to 100; a* runs from green to red and b* from blue to yellow; both are 0 for grey and within ±110 on
screens. There are no matrix products, because autocast would round them to half precision.

Sources: IEC 61966-2-1 (sRGB), CIE 15 (L*a*b*, white point D65).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ssl_pipeline.augment.srgb import LUMINANCE, to_linear, to_srgb

__all__ = ["gamut_bins", "lab_to_rgb", "to_lab"]

_XYZ_OF_RGB = (
    torch.tensor(  # of linear RGB; each row is divided by its sum, so that white is (1, 1, 1), and greys stay grey
        [[0.4124564, 0.3575761, 0.1804375], LUMINANCE, [0.0193339, 0.1191920, 0.9503041]],
        dtype=torch.float64,
    )
)
_TO_XYZ = (_XYZ_OF_RGB / _XYZ_OF_RGB.sum(dim=1, keepdim=True)).tolist()
_TO_LINEAR = torch.linalg.inv(torch.tensor(_TO_XYZ, dtype=torch.float64)).tolist()
_LINEAR_BELOW = 6 / 29  # below it, a straight line replaces the cube root of L*


def to_lab(images: Tensor) -> Tensor:
    """Convert images (N, 3, ...) to L*, a*, b* (N, 3, ...); values outside [0, 1] are clamped."""
    xyz = _mixed(_TO_XYZ, to_linear(images))
    root = torch.where(
        xyz > _LINEAR_BELOW**3, xyz.clamp(min=_LINEAR_BELOW**3) ** (1 / 3), xyz / (3 * _LINEAR_BELOW**2) + 4 / 29
    )
    x, y, z = root.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def lab_to_rgb(lab: Tensor) -> Tensor:
    """Convert L*, a*, b* (N, 3, ...) to images (N, 3, ...) in [0, 1]; channels of colours outside sRGB are clamped."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    root = torch.stack([y + a / 500, y, y - b / 200], dim=1)
    xyz = torch.where(root > _LINEAR_BELOW, root**3, 3 * _LINEAR_BELOW**2 * (root - 4 / 29))
    return to_srgb(_mixed(_TO_LINEAR, xyz).clamp(0, 1))


def gamut_bins(grid: int) -> Tensor:
    """Return the centres (Q, 2) float32, in ab, of the squares of a grid that contain an sRGB colour of 8 bits.

    It is enough to look at the faces of the colour cube: seen along L*, a body lies within the outline of its surface.

    Args:
        grid: Side of a square, in units of a* and b*; one square has its centre at the origin.
    """
    side = torch.linspace(0, 1, 256, dtype=torch.float64)
    square = torch.cartesian_prod(side, side)
    faces = [
        torch.cat([square[:, :axis], torch.full((len(square), 1), end, dtype=torch.float64), square[:, axis:]], dim=1)
        for axis in range(3)
        for end in (0.0, 1.0)
    ]
    reach = 128 // grid
    a, b = ((to_lab(torch.cat(faces))[:, 1:] / grid).round().long() + reach).unbind(1)
    found = torch.zeros(2 * reach + 1, 2 * reach + 1, dtype=torch.bool)
    found[a, b] = True
    return (found.nonzero() - reach).float() * grid


def _mixed(matrix: Sequence[Sequence[float]], channels: Tensor) -> Tensor:
    first, second, third = channels.unbind(1)
    return torch.stack([one * first + two * second + three * third for one, two, three in matrix], dim=1)
