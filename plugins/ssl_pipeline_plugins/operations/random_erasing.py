"""Random erasing: hide a part of the view behind a grey square, so that no single part of an object is enough.

Sources: Zhong et al. 2017 (1708.04896), who erase rectangles; a square of one value: Cutout (DeVries and Taylor 2017,
1708.04552).
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Register, ViewOperation


class RandomErasing(ViewOperation):
    """A square of random area, filled with one value, that lies wholly within the view.

    Pixels at the edge are blended in proportion to the part of them that the square covers. If they were erased wholly
    or not at all, two runtimes that differ in the last bit would occasionally erase different pixels.

    Args:
        smallest: Smallest area of the square, as a share of the view, in (0, 1].
        largest: Largest area of the square, as a share of the view, in (0, 1].
        value: Value that fills the square, in [0, 1].
    """

    uniforms = 3  # area, top, left

    def __init__(self, *, smallest: float = 0.02, largest: float = 0.33, value: float = 0.5):
        super().__init__()
        if not 0 < smallest <= largest <= 1:
            raise ValueError(
                f"smallest and largest must satisfy 0 < smallest <= largest <= 1, got {smallest} and {largest}"
            )
        if not 0 <= value <= 1:
            raise ValueError(f"value must lie in [0, 1], got {value}")
        self.smallest, self.largest, self.value = smallest, largest, value

    def forward(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Erase a square of each image (N, C, S, S), drawn by the image's random numbers (N, 3)."""
        area, top, left = uniforms.unbind(1)
        size = images.shape[-1]
        side = size * (self.smallest + (self.largest - self.smallest) * area).sqrt()  # (N,), px
        rows, columns = (_covered(size, start * (size - side), side) for start in (top, left))
        covered = rows[:, None, :, None] * columns[:, None, None, :]  # (N, 1, S, S)
        return (images + covered * (self.value - images)).clamp(0, 1)


def _covered(size: int, start: Tensor, length: Tensor) -> Tensor:
    """Return the share of each pixel along one axis that the square of each image covers: (N, S)."""
    pixels = torch.arange(size, device=start.device)
    first, last = start[:, None], (start + length)[:, None]
    return (torch.minimum(last, pixels + 1) - torch.maximum(first, pixels)).clamp(0, 1)


@hookimpl
def register_operations(register: Register) -> None:
    """Add `random_erasing`."""
    register("random_erasing", RandomErasing)
