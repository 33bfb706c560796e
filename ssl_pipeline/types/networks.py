"""Backbones: the networks that are trained, and what they may offer beyond embeddings."""

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

__all__ = ["Backbone", "Inputs", "Need", "Offer"]

Offer = Literal["maps", "patches"]
"""What a backbone may offer beyond embeddings: feature maps of each of its layers, or features of some patches of an
image that do not depend on the others."""

Need = Offer | Literal["rgb"]
"""What a task may require: what backbones offer, or images in red, green and blue."""


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
    """A network that maps normalised images (N, C, S, S) to embeddings (N, `embedding_dim`) float32.

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
    """Numbers of channels of each layer's maps, from the first layer to the last, if the backbone offers maps."""

    patch_size: int = 0
    """Side of a patch in px, if the backbone offers patches."""

    recomputes: bool = False
    """Whether the backbone recomputes activations for its gradients; the memory that it takes is then not known."""

    published_for: Inputs | None = None
    """Inputs that the published weights expect, whether this backbone holds them or not; None if there are none."""

    published_licence: str = ""
    """The licence of its published weights, such as apache-2.0; empty if it is not known."""

    offers: Mapping[Offer, str] = {}
    """What backbones of this kind may offer -> their names in params.yaml, which messages about other kinds list."""

    small_options: Mapping[str, Any] | None = None
    """Options that make this the backbone of recipes in the size `small` that name none; None if it is not that."""

    def has(self, offer: Offer) -> bool:
        """Return whether this backbone offers maps, or patches."""
        return bool(self.map_channels) if offer == "maps" else bool(self.patch_size)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return features (N, C, H, W) of normalised images (N, C, S, S) after each layer, first to last."""
        raise NotImplementedError(f"{type(self).__name__} has no layers")

    def visible(self, images: Tensor, shown: Tensor) -> Tensor:
        """Return features (N, k, D) of the patches that are shown; the others have no influence on them.

        Args:
            images: Normalised images (N, C, S, S).
            shown: Numbers (N, k) int64 of the patches that are shown, row by row from the top left.
        """
        raise NotImplementedError(f"{type(self).__name__} has no patches")

    def library_state_dict(self, classes: int = 0) -> dict[str, Tensor]:
        """Return the weights under the names of the library that the network comes from; by default, its own names.

        Args:
            classes: Number of outputs of a new classifier, whose weights are 0; 0 for no classifier.

        Raises:
            ValueError: The network has no place for a classifier.
        """
        if classes:
            raise ValueError("this backbone has no classifier of its own: leave num_classes out")
        return self.state_dict()
