"""Multi-crop: small views are cheap, and each of them has to agree with both global views of its image.

Every crop is compared with each global view except itself, and all these pairs have the same weight. Local views do not
serve as keys, because a crop has to agree with a whole image.

Source: SwAV (2006.09882), section 3.2.
"""

import torch
from torch import Tensor

from ssl_pipeline.contrast.similarity import widened

__all__ = ["add_local_pairs", "of_others", "stacked"]


def stacked(embeddings: list[Tensor]) -> Tensor:
    """Stack crops of N images, (N, V, D) for each kind, view after view: (sum of V x N, D), at least float32."""
    return torch.cat([widened(kind).transpose(0, 1) for kind in embeddings]).flatten(0, 1)


def of_others(values: Tensor) -> Tensor:
    """Return the values (A, B) of pairs of crops as one vector, row by row, without those of a crop with itself.

    The values between the places of the diagonal are cut out by slices: with a mask, a device would have to count them.

    Examples:
        >>> of_others(torch.arange(6).reshape(2, 3))  # 0 and 4 are of crops with themselves
        tensor([1, 2, 3, 5])
    """
    flat, stride = values.flatten(), values.shape[1] + 1
    starts = [place * stride + 1 for place in range(min(values.shape))]
    ends = [start + stride - 1 for start in starts[:-1]] + [len(flat)]
    return torch.cat([flat[start:end] for start, end in zip(starts, ends, strict=True)])


def add_local_pairs(
    anchors: Tensor, positives: Tensor, local: Tensor, images: int, *, as_anchors: bool
) -> tuple[Tensor, Tensor]:
    """Add pairs of local views after those of global ones.

    Args:
        anchors: Projections (B N, P) of anchors: B blocks of pairs of global views, each over the same N images.
        positives: Projections (B N, P) of the anchors' positives.
        local: Projections (L N, P) of local views, view after view.
        images: Number of images, N.
        as_anchors: Whether local views become anchors, each for the positive of every block. If not, they become
            positives, each for the anchor of every block.

    Returns:
        Anchors and positives, ((1 + L) B N, P) each; unchanged if L is 0.
    """
    if not len(local):
        return anchors, positives
    held = (positives if as_anchors else anchors).reshape(-1, images, local.shape[1])  # (B, N, P)
    held_against = held.repeat_interleave(len(local) // images, dim=0).flatten(0, 1)  # (B L N, P)
    local = local.repeat(len(held), 1)
    more_anchors, more_positives = (local, held_against) if as_anchors else (held_against, local)
    return torch.cat([anchors, more_anchors]), torch.cat([positives, more_positives])
