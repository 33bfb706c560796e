"""Features of stored images, by whatever turns canvases into vectors."""

from collections.abc import Callable, Sized
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.progress import track
from ssl_pipeline.training.precision import best_device

__all__ = ["Embed", "Stored", "embedder", "extract", "sample", "unit"]

Features = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
Embed = Callable[[Pixels], Features]
"""Canvases (n, S, S, C) -> features (n, D) float32, row by row. n may be 0."""


class Stored(Sized, Protocol):
    """Images that stay where they are until they are asked for, such as those of a split."""

    def images(self, positions: Positions) -> Pixels:
        """Return images at positions (m,) in [0, n): (m, S, S, C)."""


_BATCH_SIZE = 256  # images that are in memory at a time


def sample(images: Sized, count: int) -> Positions:
    """Return positions of up to `count` images, spread evenly over them."""
    return np.linspace(0, max(len(images) - 1, 0), min(count, len(images))).round().astype(np.int64)


def embedder(network: nn.Module, device: torch.device | None = None) -> Embed:
    """Return what a network from pixels to features makes of canvases.

    Args:
        network: The network, which is left on the device, in eval mode.
        device: The device to compute on; None: the fastest.
    """
    device = device or best_device()
    network.to(device).eval()

    def embed(images: Pixels) -> Features:
        with torch.inference_mode():
            features: Features = network(torch.from_numpy(images).to(device)).cpu().numpy()
        return features

    return embed


def extract(embed: Embed, images: Stored, positions: Positions | None = None) -> Features:
    """Return features (n, D), batch by batch.

    Args:
        embed: What makes the features.
        images: Whose.
        positions: (n,) positions of the images to take; None: all.
    """
    if positions is None:
        positions = np.arange(len(images))
    starts = range(0, max(len(positions), 1), _BATCH_SIZE)
    batches = (embed(images.images(positions[start : start + _BATCH_SIZE])) for start in starts)
    return np.concatenate(list(track(batches, "features", total=len(starts))))


def unit(features: Features) -> Features:
    """Return features (n, D) scaled to length 1; a row of zeros stays."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(features / np.maximum(lengths, np.finfo(np.float32).tiny))
