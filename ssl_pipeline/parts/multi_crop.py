"""Multi-crop: small views are cheap, and each of them has to agree with both global views of its image.

Every crop is held against each global view but itself, and every such pair weighs the same. Local views are no keys:
what a crop has to agree with is a whole image.

Source: SwAV (2006.09882), section 3.2.
"""

import torch
from torch import Tensor

from ssl_pipeline.contrast.similarity import widened

__all__ = ["add_local_pairs", "of_others", "stacked"]


def stacked(embeddings: list[Tensor]) -> Tensor:
    """Stack crops of N images, (N, V, D) of each kind, as (sum of V x N, D), at least float32: view after view."""
    return torch.cat([widened(kind).transpose(0, 1) for kind in embeddings]).flatten(0, 1)


def of_others(values: Tensor) -> Tensor:
    """Return the values (A, B) of pairs of crops without those of a crop with itself, row by row, as one vector.

    Cut out between the places of the diagonal: a mask would have a device count what it holds.

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
        anchors: (B N, P) projections: B blocks of pairs of global views, each over the same N images.
        positives: (B N, P) projections of the anchors' positives.
        local: (L N, P) projections of local views, view after view.
        images: N.
        as_anchors: Whether local views become anchors, each for the positive of every block, or else positives, each
            for the anchor of every block.

    Returns:
        Anchors and positives, ((1 + L) B N, P) each; as they were where L is 0.
    """
    if not len(local):
        return anchors, positives
    held = (positives if as_anchors else anchors).reshape(-1, images, local.shape[1])  # (B, N, P)
    held_against = held.repeat_interleave(len(local) // images, dim=0).flatten(0, 1)  # (B L N, P)
    local = local.repeat(len(held), 1)
    more_anchors, more_positives = (local, held_against) if as_anchors else (held_against, local)
    return torch.cat([anchors, more_anchors]), torch.cat([positives, more_positives])
