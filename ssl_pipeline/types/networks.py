"""What is trained and what ships: backbones, and energies on top of them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

__all__ = ["Backbone", "EnergyHead", "ImageEnergyHead", "Inputs", "Need", "Offer"]

Offer = Literal["maps", "patches"]
"""What a backbone may offer beyond embeddings: maps of features of each of its layers, or that it can be shown some
patches of an image alone."""

Need = Offer | Literal["rgb"]
"""What a task may ask for: what backbones offer, or that images are red, green and blue."""


class Inputs(NamedTuple):
    """The images that published weights were trained on: side in px, mean and std of each RGB channel in [0, 1].

    Examples:
        >>> Inputs(size=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)).size
        224
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Backbone(nn.Module, ABC):
    """Maps normalised images (N, C, S, S) to embeddings (N, `embedding_dim`) float32.

    Examples:
        >>> import torch
        >>> class OneConvolution(Backbone):
        ...     embedding_dim, map_channels = 8, (8,)
        ...     def __init__(self, in_channels=3):
        ...         super().__init__()
        ...         self.convolution = nn.Conv2d(in_channels, 8, 3, stride=2, padding=1)
        ...     def maps(self, images):
        ...         return [self.convolution(images).relu()]
        ...     def forward(self, images):
        ...         return self.maps(images)[-1].mean(dim=(2, 3))
        >>> backbone = OneConvolution()
        >>> backbone(torch.zeros(2, 3, 16, 16)).shape, backbone.has("maps"), backbone.has("patches")
        (torch.Size([2, 8]), True, False)
    """

    embedding_dim: int

    map_channels: Sequence[int] = ()
    """Channels of each layer's maps, from the first layer to the last, if it offers maps."""

    patch_size: int = 0
    """Side in px of a patch, if it offers patches."""

    published_for: Inputs | None = None
    """What its published weights expect, whether this one holds them or not; None where there are none."""

    offers: Mapping[Offer, str] = {}
    """What its kind may offer -> under which names in params.yaml; a message lists them where another one does not."""

    small_options: Mapping[str, Any] | None = None
    """Options with which it is the backbone of recipes in the size `small` that name none; None: it is not."""

    def has(self, offer: Offer) -> bool:
        """Say whether this backbone offers maps or patches."""
        return bool(self.map_channels) if offer == "maps" else bool(self.patch_size)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return features (N, C, H, W) of normalised images (N, C, S, S) after each layer, first layer first."""
        raise NotImplementedError(f"{type(self).__name__} has no layers")

    def visible(self, images: Tensor, shown: Tensor) -> Tensor:
        """Return features (N, k, D) of the patches that are shown; the others have no influence on them.

        Args:
            images: (N, C, S, S) normalised images.
            shown: (N, k) int64, the numbers of the patches that are shown, row by row from the top left.
        """
        raise NotImplementedError(f"{type(self).__name__} has no patches")


class EnergyHead(nn.Module, ABC):
    """The energy of pairs, from their embeddings.

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
    """What `energy.onnx` takes."""

    name: str
    """Which energy this is; `energy.onnx` carries it in its metadata."""

    @abstractmethod
    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return energies (N,), low where compatible, for embeddings (N, D) and (N, D)."""


class ImageEnergyHead(nn.Module, ABC):
    """The energy of single images, from their pixels: low for those that are as images should be.

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
    """What `energy.onnx` takes."""

    name: str
    """Which energy this is; `energy.onnx` carries it in its metadata."""

    uniforms: int

    @abstractmethod
    def forward(self, encoder: nn.Module, images: Tensor) -> Tensor:
        """Return energies (N,) of images (N, C, S, S) in [0, 1], given the trained encoder."""

    @abstractmethod
    def corrupt(self, images: Tensor, uniforms: Tensor) -> Tensor:
        """Return what should have more energy than images (N, C, S, S), by numbers (N, P) in [0, 1)."""
