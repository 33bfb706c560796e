"""Prototypes: directions that projections are assigned to, the same for all views."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.parts.multi_crop import of_others
from ssl_pipeline.types import Finding

__all__ = ["Prototypes", "cross_entropy", "prototype_figures", "unused_prototypes"]

_MIN_USED_SHARE = 0.1  # share of the prototypes in reach that a batch has to use
_MIN_USED_SHARE_EARLY = 0.42  # the same early in the training, when 0.55 is healthy
_MIN_USED_SHARE_OF_TWO = 0.75  # share of two prototypes, below which one is idle: six of seven images have the other
_EARLY_SHARE = 0.15  # share of the training, after which similar images may have gathered around a few prototypes
_MAX_SHARE_PER_IMAGE = 0.97  # share of the prototypes, above which an image belongs to all of them equally


class Prototypes(nn.Module):
    """A layer that compares vectors with learned directions, by their cosines.

    Args:
        count: Number of directions, K.
        dim: Length of a direction, D.

    Examples:
        >>> prototypes = Prototypes(count=10, dim=8)
        >>> prototypes(torch.randn(2, 4, 8)).shape  # two views of four images
        torch.Size([2, 4, 10])
    """

    def __init__(self, count: int, dim: int):
        super().__init__()
        self.directions = nn.Parameter(F.normalize(torch.randn(count, dim), dim=1))

    def forward(self, vectors: Tensor, learns: bool = True) -> Tensor:
        """Return cosines (..., K), at least float32, of vectors (..., D); directions get gradients if `learns`."""
        directions = self.directions if learns else self.directions.detach()
        return F.linear(F.normalize(widened(vectors), dim=-1), F.normalize(directions, dim=1))


def cross_entropy(assigned: Tensor, log_probability: Tensor) -> Tensor:
    """Return the mean of -Σ q log p over images and over pairs of a target (T, N, K) and another view (V, N, K)."""
    found = -torch.einsum("tnk,vnk->tv", assigned, log_probability) / assigned.shape[1]
    return of_others(found).mean()


@torch.no_grad()
def prototype_figures(assigned: Tensor) -> dict[str, Tensor]:
    """Return how many prototypes a batch and an image use, from 1 to K: the exponentials of entropies.

    `prototypes_in_reach` is the number that a batch would use if its images shared no prototypes and the views of an
    image shared all of theirs, but no more than K.

    Args:
        assigned: Shares (T, N, K) of the prototypes in each image, which sum to 1.
    """
    _, images, count = assigned.shape
    of_image = torch.special.entr(assigned).sum(dim=2).mean().exp()
    return {
        "prototypes_used": torch.special.entr(assigned.mean(dim=(0, 1))).sum().exp(),
        "prototypes_of_an_image": of_image,
        "prototypes_in_reach": (of_image * images).clamp(max=count),
    }


def unused_prototypes(
    figures: Mapping[str, float], count: int, progress: float, even: str, sharp: str
) -> list[Finding]:
    """Report that all images get the same few prototypes, or that each image gets all of them equally.

    Args:
        figures: Figures of a row of the curves, with those of `prototype_figures`.
        count: Number of prototypes, K.
        progress: Share of the training done, in (0, 1].
        even: Option of the loss that spreads assignments more evenly, with a value.
        sharp: Option of the loss that sharpens assignments, and in which direction.
    """
    used, of_image = figures["prototypes_used"], figures["prototypes_of_an_image"]
    min_used_share = _MIN_USED_SHARE_EARLY if progress <= _EARLY_SHARE else _MIN_USED_SHARE
    if used < max(min(2.0, _MIN_USED_SHARE_OF_TWO * count), min_used_share * figures["prototypes_in_reach"]):
        return [
            Finding(
                "prototype collapse",
                f"prototype collapse: a batch uses {used:.1f} of {count} prototypes. Spread assignments more evenly: "
                f"{even}; or raise pretrain.batch_size.",
                fatal=True,
            )
        ]
    if of_image > _MAX_SHARE_PER_IMAGE * count:
        return [
            Finding(
                "prototype collapse",
                f"prototype collapse: each image belongs to {of_image:.0f} of {count} prototypes equally. Sharpen "
                f"assignments: {sharp}.",
                fatal=True,
            )
        ]
    return []
