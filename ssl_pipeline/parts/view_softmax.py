"""A softmax that tells two views of each image from those of all others: an additional loss for other tasks.

Source: SimCLR (2002.05709), section 2.1, equation 1 (NT-Xent).
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.contrast.similarity import log_mass
from ssl_pipeline.types import Negatives

__all__ = ["told_apart"]


def told_apart(projections: Tensor, samples: Tensor, temperature: float) -> Tensor:
    """Return the mean loss in nats of telling the other view of an image from all views of other images.

    Args:
        projections: Projections (2N, P) of any length: all first views, then all second views.
        samples: Ids (N,) int64 of the images.
        temperature: Softmax temperature, greater than 0.

    Examples:
        >>> print(f"{told_apart(torch.eye(2).repeat(2, 1), torch.tensor([7, 9]), temperature=1.0):.4f}")  # log(1 + 2/e)
        0.5514
    """
    anchors, ids = F.normalize(projections, dim=1), samples.repeat(2)
    positive = torch.linalg.vecdot(anchors, anchors.roll(len(anchors) // 2, dims=0)) / temperature
    mass = log_mass(anchors, Negatives(anchors, ids, ids), 1 / temperature)
    loss: Tensor = (torch.logaddexp(positive, mass) - positive).mean()
    return loss
