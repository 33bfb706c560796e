"""The encoder: normalisation and backbone in one, so that what trains and what ships cannot disagree on either."""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from ssl_pipeline.augment.srgb import luminance
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.types.networks import Backbone

__all__ = ["Encoder", "normalised"]


class Encoder(nn.Module):
    """A network that turns images in [0, 1] into embeddings.

    Args:
        backbone: The backbone, which maps normalised images to embeddings.
        mean: Mean of each of C channels over the training images, as a share of the full scale.
        std: Standard deviation of each channel over the training images; at least one level of the images' type.
        images: Description of the images: what their values and channels mean.
        layer: Layer of the backbone, from 1, whose maps are averaged to embeddings; None: the embeddings are the
            backbone's own.
        grayscale: Whether the backbone sees only the luminance of images, as three equal channels.
        projection: Linear layer after the backbone's own embedding, whose outputs are the embeddings; None for none.

    Raises:
        ValueError: The backbone has no such layer.

    Examples:
        >>> from ssl_pipeline.testing.material import SmallBackbone
        >>> encoder = Encoder(SmallBackbone(), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
        >>> encoder(torch.rand(2, 3, 16, 16)).shape, encoder.at(layer=1).embedding_dim
        (torch.Size([2, 16]), 8)
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        mean: Sequence[float],
        std: Sequence[float],
        images: ImageSpec = RGB8,
        *,
        layer: int | None = None,
        grayscale: bool = False,
        projection: nn.Linear | None = None,
    ):
        super().__init__()
        if layer is not None and not 1 <= layer <= len(backbone.map_channels):
            raise ValueError(f"layer must lie in [1, {len(backbone.map_channels)}], got {layer}")
        self.backbone, self.images, self.layer, self.grayscale = backbone, images, layer, grayscale
        self.projection = projection
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).clamp(min=images.level).reshape(1, -1, 1, 1))

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding, D."""
        if self.projection is not None:
            return self.projection.out_features
        return self.backbone.embedding_dim if self.layer is None else self.backbone.map_channels[self.layer - 1]

    def at(self, layer: int | None) -> "Encoder":
        """Return an encoder with another layer's embeddings, around the same backbone, mean and std.

        A projection belongs to the backbone's own embedding (None), and is left out for all other layers.
        """
        return self._around_the_same(layer, self.grayscale, self.projection if layer is None else None)

    def in_grayscale(self) -> "Encoder":
        """Return an encoder that sees no colours, around the same backbone, mean and std."""
        return self._around_the_same(self.layer, True, self.projection)

    def projected(self, dim: int) -> "Encoder":
        """Return an encoder whose embeddings are projected to length `dim`, around the same backbone, mean and std.

        If the encoder already projects to that length, it is returned itself. Otherwise the projection is new and has
        no biases; its weights are drawn from torch's generator (CLIP, 2103.00020, section 2.4).
        """
        if self.projection_dim == dim:
            return self
        width: int = self.backbone.embedding_dim
        projection = nn.Linear(width, dim, bias=False)
        nn.init.normal_(projection.weight, std=width**-0.5)
        return self._around_the_same(None, self.grayscale, projection)

    @property
    def projection_dim(self) -> int | None:
        """Length of projected embeddings; None if there is no projection."""
        return None if self.projection is None else self.projection.out_features

    def _around_the_same(self, layer: int | None, grayscale: bool, projection: nn.Linear | None) -> "Encoder":
        """Return another encoder that shares all tensors and the mode of this one, but not its hooks."""
        mean, std = (values.flatten().tolist() for values in (self.mean, self.std))
        other = Encoder(self.backbone, mean, std, self.images, layer=layer, grayscale=grayscale, projection=projection)
        other.mean, other.std, other.training = self.mean, self.std, self.training
        return other

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move mean and std as torch moves weights: in place, so that encoders that share a backbone move together."""
        shared = self.mean, self.std
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for tensor, moved in zip(shared, (self.mean, self.std), strict=True):
            tensor.data = moved.data
        self.mean, self.std = shared
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (N, D) of images (N, C, S, S) in [0, 1]."""
        return self.embed_normalised(self.normalised(images))

    def embed_normalised(self, normalised: Tensor) -> Tensor:
        """Return embeddings (N, D) of images (N, C, S, S) that `normalised` has returned."""
        if self.layer is not None:
            return self.backbone.maps(normalised)[self.layer - 1].mean(dim=(2, 3))
        embedding: Tensor = self.backbone(normalised)
        if self.projection is not None:
            embedding = self.projection(embedding)
        return embedding

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return features (N, C, H, W) of each layer for images (N, C, S, S) in [0, 1], if the backbone offers maps."""
        return self.backbone.maps(self.normalised(images))

    def visible(self, images: Tensor, shown: Tensor) -> Tensor:
        """Return features (N, k, D) of patches (N, k) of images in [0, 1], from backbones that offer patches."""
        return self.backbone.visible(self.normalised(images), shown)

    def normalised(self, images: Tensor) -> Tensor:
        """Return images in [0, 1] minus the mean of the training images' channels, divided by their standard deviation.

        Grayscale uses the statistics of red, green and blue as well; those of the luminance are close to them.
        """
        return normalised(images, self.mean, self.std, self.grayscale)


def normalised(images: Tensor, mean: Tensor, std: Tensor, grayscale: bool) -> Tensor:
    """Return images (N, C, S, S) in [0, 1], or their luminance as three equal channels, standardised.

    Args:
        images: The images.
        mean: Mean of each channel (1, C, 1, 1), which is subtracted.
        std: Standard deviation of each channel (1, C, 1, 1), by which the difference is divided.
        grayscale: Whether the luminance replaces the colours.
    """
    if grayscale:
        images = luminance(images).expand(-1, 3, -1, -1)
    return (images - mean) / std
