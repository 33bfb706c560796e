"""Images with holes, for tasks that predict what is hidden: cutting the holes, and predictions at each place."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor, nn

from ssl_pipeline.augment.display import chosen_bands, shown_bands
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.types import Encoder

__all__ = ["Holes", "ToGrid", "explained", "hide", "join", "patches", "save_rows"]

_TITLE_HEIGHT = 16  # px


def patches(images: Tensor, side: int) -> Tensor:
    """Cut images (N, C, S, S) into patches (N, L, C * side^2), row by row from the top left."""
    count, channels, height, _ = images.shape
    grid = height // side
    cut = images.reshape(count, channels, grid, side, grid, side)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(count, grid**2, channels * side**2)


def join(cut: Tensor, side: int, channels: int) -> Tensor:
    """Undo `patches`: (N, L, C * side^2) to (N, C, S, S)."""
    grid = math.isqrt(cut.shape[1])
    parts = cut.reshape(cut.shape[0], grid, grid, channels, side, side)
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(cut.shape[0], channels, grid * side, grid * side)


def hide(uniforms: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Choose which of L patches to hide: the same number in each image, with all choices equally likely.

    Args:
        uniforms: Random numbers (N, L) in [0, 1).
        ratio: Share of the patches to hide, in (0, 1); at least one patch is hidden and one shown.

    Returns:
        Numbers of shown patches (N, k) and of hidden ones (N, L - k), each in ascending order.
    """
    count = uniforms.shape[1]
    hidden = min(max(round(ratio * count), 1), count - 1)
    order = uniforms.argsort(dim=1, stable=True)
    return order[:, hidden:].sort(dim=1).values, order[:, :hidden].sort(dim=1).values


class Holes(nn.Module):
    """A module that hides square patches of images under a learned patch.

    A learned patch of pixels can do what the paper's learned token does: a linear embedding of patches turns these
    pixels into a token. It also works for networks without patches.

    Args:
        encoder: The encoder of the images.
        size: Side of the images, S, in px.
        side: Side of a patch, in px, which has to divide S.
        ratio: Share of the patches that are hidden, in (0, 1).

    Source: SimMIM (2111.09886), section 3.1.

    Examples:
        >>> from ssl_pipeline.testing.material import make_images, small_encoder
        >>> holes = Holes(small_encoder(seed=0), size=16, side=4, ratio=0.5)
        >>> images, where = holes(make_images(count=2, size=16), torch.rand(2, holes.count))
        >>> images.shape, where.float().mean().item()
        (torch.Size([2, 3, 16, 16]), 0.5)
    """

    fixed: Tensor

    def __init__(self, encoder: Encoder, size: int, side: int, ratio: float):
        super().__init__()
        if side < 1 or size % side or size < 2 * side:
            raise ValueError(f"mask_size must divide the views' {size} px into 2 or more patches per side, got {side}")
        if not 0 < ratio < 1:
            raise ValueError(f"ratio must lie between 0 and 1, got {ratio}")
        self.side, self.ratio, self.count = side, ratio, (size // side) ** 2
        self.token = nn.Parameter(encoder.mean.detach().expand(1, -1, side, side).clone())
        numbers = torch.rand(1, self.count, generator=torch.Generator().manual_seed(0))
        self.register_buffer("fixed", self._where(numbers), persistent=False)

    def forward(self, images: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
        """Return images (N, C, S, S) with holes, drawn by numbers (N, L) in [0, 1), and their places (N, 1, S, S)."""
        where = self._where(uniforms)
        return self._cut(images, where), where

    def always(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Cut the same holes into every image: exported graphs have no random numbers."""
        return self._cut(images, self.fixed), self.fixed.expand(images.shape[0], -1, -1, -1)

    def _where(self, uniforms: Tensor) -> Tensor:
        grid, (_, hidden) = math.isqrt(self.count), hide(uniforms, self.ratio)
        chosen = torch.zeros(uniforms.shape, device=uniforms.device).scatter(1, hidden, 1.0) > 0
        return chosen.reshape(-1, 1, grid, grid).repeat_interleave(self.side, 2).repeat_interleave(self.side, 3)

    def _cut(self, images: Tensor, where: Tensor) -> Tensor:
        grid = math.isqrt(self.count)
        return torch.where(where, self.token.repeat(1, 1, grid, grid), images)


class ToGrid(nn.Module):
    """A linear head from the last layer's maps to K numbers at each place of a grid, finer or coarser than the maps.

    Args:
        encoder: The encoder, which offers maps.
        size: Side of the views, S, in px.
        numbers: Number of outputs at each place, K.
        grid: Number of places on each side, G.

    Source: SimMIM (2111.09886), section 3.3: a linear layer predicts as well as a large decoder, and transfers better.

    Examples:
        >>> from ssl_pipeline.testing.material import make_images, small_encoder
        >>> encoder = small_encoder(seed=0)
        >>> head = ToGrid(encoder, size=16, numbers=3, grid=8)  # 8 x 8 places from maps of 4 x 4
        >>> head(encoder.maps(make_images(count=2, size=16))[-1]).shape
        torch.Size([2, 3, 8, 8])
    """

    def __init__(self, encoder: Encoder, size: int, numbers: int, grid: int):
        super().__init__()
        training = encoder.training
        with torch.no_grad():
            side = encoder.eval().maps(torch.zeros(1, encoder.images.channels, size, size))[-1].shape[-1]
        encoder.train(training)
        self.finer = max(grid // side, 1)
        self.coarser = max(side // grid, 1)
        if side * self.finer != grid * self.coarser:
            raise ValueError(
                f"the backbone's last maps have {side} places per side, which cannot be divided or grouped into {grid} "
                "per side: use views whose size is a multiple of the backbone's stride"
            )
        channels = encoder.backbone.map_channels[-1] * self.coarser**2
        self.linear = nn.Conv2d(channels, numbers * self.finer**2, 1)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (N, C, side, side) to (N, K, G, G)."""
        gathered = nn.functional.pixel_unshuffle(maps, self.coarser)
        return nn.functional.pixel_shuffle(self.linear(gathered), self.finer)


def explained(error: Tensor, of_mean: Tensor) -> dict[str, Tensor]:
    """Return by which share the error is smaller than that of a trivial guess: 1 is perfect, 0 is nothing learned."""
    return {"explained": 1 - error.detach().mean() / of_mean.detach().mean().clamp(min=1e-12)}


def save_rows(path: Path, columns: list[Tensor], spec: ImageSpec = RGB8) -> None:
    """Write images side by side: one row for each of N, and one column for each of the batches (N, C, S, S) in [0, 1].

    If images have more bands than can be shown, a line at the bottom names those that are.
    """
    size = columns[0].shape[-1]
    factor, gap = max(1, 96 // size), 4
    step = factor * size + gap
    height, bands = len(columns[0]) * step + gap, shown_bands(spec)
    sheet = Image.new("RGB", (len(columns) * step + gap, height + (_TITLE_HEIGHT if bands else 0)), "white")
    ImageDraw.Draw(sheet).text((gap, height), bands, fill="black")
    for column, images in enumerate(columns):
        for row, image in enumerate(chosen_bands(images, spec, 1)):
            pixels = image.float().clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
            enlarged = np.repeat(np.repeat(pixels, factor, axis=0), factor, axis=1)
            sheet.paste(Image.fromarray(enlarged), (gap + column * step, gap + row * step))
    sheet.save(path)
