"""Mixer: each patch becomes a vector; convolutions then mix these vectors over space, and over channels.

Source: Trockman and Kolter 2022 (2201.09792), section 2 (ConvMixer).
"""

from torch import Tensor, nn

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Backbone, Register


class _Block(nn.Module):
    """A spatial convolution with a residual connection, followed by a mix of channels."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.space = nn.Sequential(
            nn.Conv2d(width, width, kernel, groups=width, padding="same"), nn.GELU(), nn.BatchNorm2d(width)
        )
        self.channels = nn.Sequential(nn.Conv2d(width, width, 1), nn.GELU(), nn.BatchNorm2d(width))

    def forward(self, maps: Tensor) -> Tensor:
        """Mix maps (N, width, H, W)."""
        mixed: Tensor = self.channels(maps + self.space(maps))
        return mixed


class Mixer(Backbone):
    """A backbone with embeddings of length `width`, for images of at least `patch` px.

    Args:
        width: Number of channels, at least 1.
        depth: Number of blocks, at least 1.
        kernel: Side of the spatial convolutions in patches, an odd number.
        patch: Side of a patch in px.
        in_channels: Number of channels of the images.
    """

    def __init__(self, *, width: int = 64, depth: int = 4, kernel: int = 5, patch: int = 2, in_channels: int = 3):
        super().__init__()
        if min(width, depth, patch) < 1:
            raise ValueError(f"width, depth and patch must be 1 or more, got {width}, {depth} and {patch}")
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be an odd number, got {kernel}")
        self.embedding_dim = width
        self.patches = nn.Sequential(nn.Conv2d(in_channels, width, patch, patch), nn.GELU(), nn.BatchNorm2d(width))
        self.blocks = nn.Sequential(*(_Block(width, kernel) for _ in range(depth)))

    def forward(self, images: Tensor) -> Tensor:
        """Return embeddings (N, width) of normalised images (N, C, S, S)."""
        maps: Tensor = self.blocks(self.patches(images))
        return maps.mean(dim=(2, 3))


@hookimpl
def register_backbones(register: Register) -> None:
    """Add `example_plugin_mixer`."""
    register("example_plugin_mixer", Mixer)
