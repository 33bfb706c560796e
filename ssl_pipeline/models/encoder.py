"""The encoder: normalisation and backbone in one, so that what trains and what ships cannot disagree on either."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ssl_pipeline.types import Backbone

__all__ = ["Encoder"]


class Encoder(nn.Module):
    """Images in [0, 1] to embeddings.

    Args:
        backbone: Maps normalised images to embeddings.
        mean: Of each RGB channel over the training images, in [0, 1].
        std: Likewise; a channel that does not vary counts as 1/255.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Backbone, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.backbone = backbone
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).clamp(min=1 / 255).reshape(1, 3, 1, 1))

    @property
    def embedding_dim(self) -> int:
        """D, the length of an embedding."""
        return self.backbone.embedding_dim

    def forward(self, images: Tensor) -> Tensor:
        """Embed images (N, 3, S, S) in [0, 1]: (N, D)."""
        embedding: Tensor = self.backbone((images - self.mean) / self.std)
        return embedding
