"""The encoder: normalisation and backbone in one, so that what trains and what ships cannot disagree on either."""

from collections.abc import Sequence
from copy import copy
from typing import Self

import torch
from torch import Tensor, nn

from ssl_pipeline.augment.srgb import luminance
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.types.networks import Backbone

__all__ = ["Encoder"]


class Encoder(nn.Module):
    """Turn images in [0, 1] into embeddings.

    Args:
        backbone: Maps normalised images to embeddings.
        mean: The mean of each of C channels over the training images, as a share of the full scale.
        std: The standard deviation of each channel over them; one that does not vary counts as one level of its type.
        images: What the values of images mean.

    Examples:
        >>> from ssl_pipeline.testing.material import SmallBackbone
        >>> encoder = Encoder(SmallBackbone(), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        >>> encoder(torch.rand(2, 3, 16, 16)).shape, encoder.at(layer=1).embedding_dim
        (torch.Size([2, 16]), 8)
    """

    mean: Tensor
    std: Tensor
    layer: int | None = None
    """Of the backbone, from 1, whose maps are averaged to embeddings; None: the embeddings are its own."""
    grayscale: bool = False
    """Whether the backbone is shown the luminance of images alone, as three equal channels."""

    def __init__(self, backbone: Backbone, mean: Sequence[float], std: Sequence[float], images: ImageSpec = RGB8):
        super().__init__()
        self.backbone, self.images = backbone, images
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).clamp(min=images.level).reshape(1, -1, 1, 1))

    @property
    def embedding_dim(self) -> int:
        """D, the length of an embedding."""
        return self.backbone.embedding_dim if self.layer is None else self.backbone.map_channels[self.layer - 1]

    def at(self, layer: int | None) -> Self:
        """Return this encoder with another layer's embeddings; the weights are the same ones, not copies of them."""
        other = copy(self)
        other.layer = layer
        return other

    def in_grayscale(self) -> Self:
        """Return this encoder as one that sees no colours; the weights are the same ones, not copies of them."""
        other = copy(self)
        other.grayscale = True
        return other

    def forward(self, images: Tensor) -> Tensor:
        """Embed images (N, C, S, S) in [0, 1]: (N, D)."""
        if self.layer is not None:
            return self.maps(images)[self.layer - 1].mean(dim=(2, 3))
        embedding: Tensor = self.backbone(self.normalised(images))
        return embedding

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return features (N, C, H, W) of each layer for images (N, C, S, S) in [0, 1], if the backbone offers maps."""
        return self.backbone.maps(self.normalised(images))

    def visible(self, images: Tensor, shown: Tensor) -> Tensor:
        """Return features (N, k, D) of patches (N, k) of images in [0, 1], from backbones that offer patches."""
        return self.backbone.visible(self.normalised(images), shown)

    def normalised(self, images: Tensor) -> Tensor:
        """Return images in [0, 1] less the mean of the training images' channels, over their standard deviation.

        In grayscale too: with the statistics of red, green and blue, of which the luminance is near.
        """
        if self.grayscale:
            images = luminance(images).expand(-1, 3, -1, -1)
        return (images - self.mean) / self.std
