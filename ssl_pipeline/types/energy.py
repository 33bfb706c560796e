"""Energies that are exported: of pairs of embeddings, and of single images."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from ssl_pipeline.types.encoder import Encoder

__all__ = ["EnergyHead", "ImageEnergyHead"]


class EnergyHead(nn.Module, ABC):
    """The energy of pairs of images, computed from their embeddings.

    Examples:
        >>> import torch
        >>> class SquaredDistance(EnergyHead):
        ...     name = "squared_distance"
        ...     def forward(self, first, second):
        ...         return (first - second).square().sum(dim=1)
        >>> SquaredDistance()(torch.zeros(2, 3), torch.tensor([[0.0, 0.0, 0.0], [1.0, 2.0, 0.0]]))
        tensor([0., 5.])
    """

    inputs = ("first", "second")
    """Names of the inputs of `energy.onnx`."""

    name: str
    """Name of the energy, which is written to the metadata of `energy.onnx`."""

    @abstractmethod
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return energies (N,), low where compatible, for embeddings (N, D) and (N, D)."""


class ImageEnergyHead(nn.Module, ABC):
    """The energy of single images, computed from their pixels: low for images that look as they should.

    Attributes:
        uniforms: Number of random numbers that `corrupt` needs for each image, P.

    Examples:
        >>> import torch
        >>> class Roughness(ImageEnergyHead):  # photographs are smooth, noise is not
        ...     name, uniforms = "roughness", 1
        ...     def forward(self, encoder, images):
        ...         return images.diff(dim=3).abs().mean(dim=(1, 2, 3))
        ...     def corrupt(self, images, uniforms):
        ...         stripes = torch.arange(images.shape[3]) % 2
        ...         return (images + 0.5 * uniforms[:, :, None, None] * stripes).clamp(max=1)
        >>> head, images = Roughness(), torch.zeros(1, 3, 4, 4)
        >>> head(nn.Identity(), images).item(), head(nn.Identity(), head.corrupt(images, torch.tensor([[0.5]]))).item()
        (0.0, 0.25)
    """

    inputs = ("images",)
    """Names of the inputs of `energy.onnx`."""

    name: str
    """Name of the energy, which is written to the metadata of `energy.onnx`."""

    uniforms: int

    @abstractmethod
    def forward(self, encoder: Encoder, images: Tensor) -> Tensor:
        """Return energies (N,) of images (N, C, S, S) in [0, 1], given the trained encoder."""

    @abstractmethod
    def corrupt(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Return corrupted images (N, C, S, S), which should have more energy, drawn by numbers (N, P) in [0, 1)."""
