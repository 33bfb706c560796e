"""Backbones: the networks that are trained, and what they may offer beyond embeddings."""

from abc import ABC
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

__all__ = ["Backbone", "Inputs", "Need", "Offer"]

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

    recomputes: bool = False
    """Whether it computes parts of itself again for their gradients: what it keeps for them is then not known."""

    published_for: Inputs | None = None
    """What its published weights expect, whether this one holds them or not; None where there are none."""

    published_licence: str = ""
    """The licence of its published weights, such as apache-2.0; empty where it is not known."""

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

    def library_state_dict(self, classes: int = 0) -> dict[str, Tensor]:
        """Return the weights under the names of the library that the network comes from; here: its own names.

        Args:
            classes: The number of outputs of a new classifier, whose weights are 0; 0: without a classifier.

        Raises:
            ValueError: The network has no place for a classifier.
        """
        if classes:
            raise ValueError("this backbone has no classifier of its own: leave num_classes out")
        return self.state_dict()
