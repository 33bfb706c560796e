"""Features of stored images, by whatever turns canvases into vectors: each image once, whoever asks for them."""

from collections.abc import Sized
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ssl_pipeline import ranks
from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.foreign_graphs import Embed
from ssl_pipeline.neighbours import unit
from ssl_pipeline.progress import track
from ssl_pipeline.training.precision import best_device

__all__ = ["Embed", "Kept", "OfSplits", "Stored", "embedder", "extract", "sample", "unit"]

Features = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]


class Stored(Sized, Protocol):
    """Images that stay where they are until they are asked for, such as those of a split."""

    def images(self, positions: Positions) -> Pixels:
        """Return images at positions (m,) in [0, n): (m, S, S, C)."""


@runtime_checkable
class OfSplits(Stored, Protocol):
    """Images that lie in splits of a store, as they are there."""

    @property
    def places(self) -> tuple[tuple[Split, ...], Positions, Positions]:
        """Splits, and for each of the n images the number (n,) of its split among them, and its row (n,) there."""
        ...


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
    """Return features (n, D), batch by batch; ranks that work together embed some of the batches each.

    Args:
        embed: What makes the features; a `Kept` one embeds only those images of splits that it has not yet met.
        images: The images to embed.
        positions: (n,) positions of the images to take; None: all.
    """
    if positions is None:
        positions = np.arange(len(images))
    if isinstance(embed, Kept) and isinstance(images, OfSplits):
        splits, owners, rows = images.places
        return embed.features(splits, owners[positions], rows[positions])
    return _extract(embed, images, positions)


def _extract(embed: Embed, images: Stored, positions: Positions) -> Features:
    starts = range(0, max(len(positions), 1), _BATCH_SIZE)
    own = [starts[number] for number in ranks.share(len(starts))]  # whole batches, since features may depend on them
    batches = (embed(images.images(positions[start : start + _BATCH_SIZE])) for start in own)
    parts = ranks.gathered(list(track(batches, "features", total=len(own))))
    return np.concatenate([features for part in parts for features in part])


class Kept:
    """An encoder that remembers: each image of a split is embedded once, whichever study asks for it.

    Splits are known by their content. Rows that nobody has asked for take no memory.

    Args:
        embed: The encoder.
    """

    def __init__(self, embed: Embed):
        self._embed = embed
        self._known: dict[tuple[str, str], tuple[npt.NDArray[np.bool_], Features]] = {}

    def __call__(self, images: Pixels) -> Features:
        """Embed canvases (n, S, S, C), of which nothing is kept: (n, D)."""
        return self._embed(images)

    def features(self, splits: tuple[Split, ...], owners: Positions, rows: Positions) -> Features:
        """Return features (n, D) of images that lie in splits; see `OfSplits.places`."""
        found = [self._of(split, rows[owners == number]) for number, split in enumerate(splits)]
        features = np.empty((len(rows), found[0].shape[1]), np.float32)
        for number, part in enumerate(found):
            features[owners == number] = part
        return features

    def _of(self, split: Split, rows: Positions) -> Features:
        known, kept = self._known.get((split.name, split.sha256), (np.zeros(len(split), np.bool_), None))
        missing = np.unique(rows[~known[rows]])
        if kept is None or len(missing):
            made = _extract(self._embed, split, missing)
            if kept is None:
                kept = np.empty((len(split), made.shape[1]), np.float32)
                self._known[split.name, split.sha256] = known, kept
            kept[missing], known[missing] = made, True
        return kept[rows]
