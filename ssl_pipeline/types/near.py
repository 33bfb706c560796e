"""Which images are near each other in time: frames of one clip, which are no negatives of each other."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Near"]


@dataclass(frozen=True)
class Near:
    """Where all images of a pool lie in time, on one line, and how near is near.

    Clips lie on the line one after another, farther apart than `within`, and an image without a time is a clip of its
    own. Being near is symmetric but not transitive, and no number for each image can stand for it, as an id stands for
    being the same: two places and a distance do.

    Attributes:
        ids: (n,) int64, the ids of the pool's images, sorted.
        places: (n,) int64, the place of each on the line, in microseconds.
        within: The largest distance in microseconds between two images that are near each other, at least 0.

    Examples:
        >>> near = Near(torch.tensor([-5, 7, 9]), torch.tensor([10, 20, 90]), within=10)
        >>> near.places_of(torch.tensor([9, -5]))
        tensor([90, 10])
    """

    ids: Tensor
    places: Tensor
    within: int

    def to(self, device: torch.device) -> "Near":
        """Return the same on a device."""
        return Near(self.ids.to(device), self.places.to(device), self.within)

    def places_of(self, samples: Tensor) -> Tensor:
        """Return the places (m,) of images of the pool with ids (m,) int64."""
        return self.places[torch.searchsorted(self.ids, samples.contiguous())]
