"""Tiles of a view, encoded one by one: the common part of tasks that ask where a tile belongs.

Such tasks are only worth something if it takes a tile's content to answer them. Shortcuts, and guards against them:

- Edges that continue from one tile to the next: a gap between tiles, and a random shift of each tile within its cell.
- Chromatic aberration, which shifts channels against each other, the more so the farther out: all tiles of an image
  show the same channel, as grey.
- Low-level statistics, such as brightness that falls off towards the corners: each tile is standardised to mean 0 and
  standard deviation 1. Changes within a tile remain, such as the slope of a smooth falloff, which random crops weaken.
- Borders: tiles are encoded as separate images, all padded in the same way. The outermost pixels of a view, which
  resampling and blur treat differently from the inside, are in no tile.
- Resampling: tiles are encoded at their own size, pixel for pixel. Rotated views are refused, because a rotation blurs
  by an amount that depends on the place. Views that are larger than the original images need a wider gap.

Sources: Doersch et al. 2015 (1505.05192), section 3.1; Noroozi and Favaro 2016 (1603.09246), section 4.2.
"""

from typing import Literal

import torch
from torch import Tensor

from ssl_pipeline.types import Encoder

__all__ = ["Channels", "Tiling", "choice", "standardised"]

Channels = Literal["one", "all"]
"""The channels that a tile shows."""

_BORDER_WIDTH = 1  # px of a view on each side
_MIN_TILE_SIDE = 4  # px, the side of a tile
_FLAT_TILE_STD = 4 / 255  # standard deviation of the errors of quantisation and compression in a flat tile


class Tiling:
    """The cutting of a view into n x n tiles, one in each cell.

    Args:
        size: Side of a view in px.
        count: Number of tiles on each side of a view, n.
        gap: Gap between two cells, as a share of 1/n of a view, in [0, 0.5]; at least 1 px, unless it is 0.
        jitter: Range in which a tile can move within its cell, as a share of 1/n of a view, in [0, 0.5]; rounded down
            to px.
        channels: Channels that tiles show: one (all tiles of an image show the same channel, as grey) or all (tiles are
            in colour).

    Attributes:
        side: Side of a tile in px, T.
        uniforms: Number of random numbers that an image needs: for its channel, then for each tile's row and column.

    Raises:
        ValueError: A share is out of its range, or tiles would be too small.

    Examples:
        >>> tiling = Tiling(size=32, count=2, gap=0.1, jitter=0.1, channels="all")
        >>> tiles = tiling.cut(torch.rand(4, 3, 32, 32), torch.rand(4, tiling.uniforms))
        >>> tiles.shape, tiling.side
        (torch.Size([4, 4, 3, 13, 13]), 13)
    """

    def __init__(self, size: int, count: int, *, gap: float, jitter: float, channels: Channels):
        for name, share in {"gap": gap, "jitter": jitter}.items():
            if not 0 <= share <= 0.5:
                raise ValueError(f"{name} must lie in [0, 0.5], got {share}")
        part = size // count
        between = max(1, round(gap * part)) if gap else 0
        cell = (size - 2 * _BORDER_WIDTH - (count - 1) * between) // count
        self.size, self.count, self.channels = size, count, channels
        self.slack = int(jitter * part)  # px
        self.side = cell - self.slack
        if self.side < _MIN_TILE_SIDE:
            raise ValueError(
                f"views of {size} px are too small for {count} x {count} tiles of at least {_MIN_TILE_SIDE} px: with "
                f"gaps of {between} px and shifts of up to {self.slack} px, {max(self.side, 0)} px are left. Use "
                "larger views, or a smaller gap and jitter"
            )
        first = (size - count * cell - (count - 1) * between) // 2
        starts = torch.arange(count) * (cell + between) + first
        self.corners = torch.cartesian_prod(starts, starts)  # (n², 2), row and column where a cell begins
        self.uniforms = 1 + 2 * count**2

    def encode(self, encoder: Encoder, images: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """Return embeddings (N, n², D) of the tiles of views (N, C, S, S), row by row; numbers as `cut` takes them."""
        tiles = standardised(self.cut(images, uniforms), encoder)
        embeddings: Tensor = encoder(tiles.flatten(0, 1)).unflatten(0, tiles.shape[:2])
        return embeddings

    def cut(self, images: Tensor, uniforms: Tensor | None = None) -> Tensor:
        """Return tiles (N, n², C, T, T) of views (N, C, S, S), row by row.

        Args:
            images: The views.
            uniforms: Random numbers (N, `uniforms`) in [0, 1); None: tiles in the middle of their cells, of the middle
                channel.
        """
        colours = images.shape[1]
        channel, shifts = self._drawn(images, uniforms)
        if self.channels == "one":
            images = images.gather(1, channel[:, None, None, None].expand(-1, 1, *images.shape[2:]))
        places = (self.corners.to(images.device) + shifts)[..., None] + torch.arange(self.side, device=images.device)
        rows, columns = places.unbind(2)  # (N, n², T) each
        pixels = (rows[..., None] * self.size + columns[:, :, None]).flatten(1)  # (N, n² T T)
        shown = images.flatten(2).gather(2, pixels[:, None].expand(-1, images.shape[1], -1))
        return (
            shown.reshape(*images.shape[:2], -1, self.side, self.side).transpose(1, 2).expand(-1, -1, colours, -1, -1)
        )

    def _drawn(self, images: Tensor, uniforms: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return channels (N,) of images, and shifts (N, n², 2) of their tiles, in px."""
        if uniforms is None:
            middle = torch.full(images.shape[:1], images.shape[1] // 2, dtype=torch.int64, device=images.device)
            return middle, torch.full((images.shape[0], self.count**2, 2), self.slack // 2, device=images.device)
        return choice(uniforms[:, 0], images.shape[1]), choice(uniforms[:, 1:], self.slack + 1).reshape(
            len(images), -1, 2
        )


def choice(uniforms: Tensor, count: int) -> Tensor:
    """Turn numbers in [0, 1) into integers from 0 to count - 1, equally likely: int64 of the same shape."""
    return (uniforms * count).long()


def standardised(tiles: Tensor, encoder: Encoder) -> Tensor:
    """Return tiles (N, n², C, T, T), each with mean 0 and deviation 1 in every channel that the backbone sees.

    Variation by a few grey levels, which comes from quantisation and compression, is not amplified but shrunk: a
    channel of standard deviation s ends up at s² / (s² + f²), as with a Wiener filter for noise of deviation f. A flat
    tile becomes constant 0, and its rounding errors, on which no two runtimes agree, disappear.
    """
    variance, mean = torch.var_mean(tiles, dim=(3, 4), correction=0, keepdim=True)
    return (tiles - mean) * (variance.sqrt() / (variance + _FLAT_TILE_STD**2)) * encoder.std + encoder.mean
