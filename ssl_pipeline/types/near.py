"""Images that are near each other in time: frames of one clip, which are never negatives of each other."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Near"]


@dataclass(frozen=True)
class Near:
    """The places of all images of a pool in time, on one line, and the distance up to which images are near.

    Clips follow each other on the line, farther apart than `within`; an image without a time is a separate clip.
    Nearness is symmetric but not transitive, so no single number per image can represent it, in the way that an id
    represents identity: it takes two places and a distance.

    Attributes:
        ids: Ids (n,) int64 of the pool's images, sorted.
        places: Place (n,) int64 of each image on the line, in microseconds.
        within: Largest distance in microseconds between two images that are near each other, at least 0.

    Examples:
        >>> near = Near(torch.tensor([-5, 7, 9]), torch.tensor([10, 20, 90]), within=10)
        >>> near.places_of(torch.tensor([9, -5]))
        tensor([90, 10])
    """

    ids: Tensor
    places: Tensor
    within: int

    def to(self, device: torch.device) -> "Near":
        """Return the same places on a device."""
        return Near(self.ids.to(device), self.places.to(device), self.within)

    def places_of(self, samples: Tensor) -> Tensor:
        """Return the places (m,) of images of the pool with ids (m,) int64."""
        return self.places[torch.searchsorted(self.ids, samples.contiguous())]
