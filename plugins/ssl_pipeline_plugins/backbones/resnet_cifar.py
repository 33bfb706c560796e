"""Residual networks for small images: a 3x3 stem, three stages, 6n + 2 layers.

Source: He et al. 2015 (1512.03385), section 4.2, with projection shortcuts (option B).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Backbone, Offer, Register


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H / stride, W / stride)."""
        hidden = F.relu(self.norm1(self.conv1(maps)))
        return F.relu(self.norm2(self.conv2(hidden)) + self.shortcut(maps))


class ResNetCifar(Backbone):
    """A residual network whose embeddings have length 4 * width, and whose layers are its three stages.

    Args:
        depth: Number of layers, 6n + 2: 8, 14, 20, 32, 44, 56, ...
        width: Number of channels of the first stage, at least 1; 16 in the paper.
        in_channels: Number of channels of the images.
    """

    offers: Mapping[Offer, str] = {"maps": "resnet_cifar"}
    small_options: Mapping[str, Any] | None = {"depth": 8, "width": 16}

    def __init__(self, *, depth: int = 20, width: int = 16, in_channels: int = 3):
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth must be 6n + 2 (8, 14, 20, 32, ...), got {depth}")
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        self.embedding_dim, self.map_channels = 4 * width, (width, 2 * width, 4 * width)
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        blocks, channels = [], width
        for stage in range(3):
            for index in range((depth - 2) // 6):
                blocks.append(Block(channels, width << stage, 2 if stage and not index else 1))
                channels = width << stage
        self.blocks = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (N, 4 * width) of normalised images (N, C, S, S)."""
        return self.maps(images)[-1].mean(dim=(2, 3))

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps of each stage: (N, width, S, S), (N, 2 width, S / 2, S / 2), (N, 4 width, S / 4, S / 4)."""
        maps, found = self.stem(images), []
        blocks = len(self.blocks) // 3
        for number, block in enumerate(self.blocks, 1):
            maps = block(maps)
            if number % blocks == 0:
                found.append(maps)
        return found


@hookimpl
def register_backbones(register: Register) -> None:
    """Add `resnet_cifar`."""
    register("resnet_cifar", ResNetCifar)
