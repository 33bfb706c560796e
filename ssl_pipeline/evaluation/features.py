"""Features of stored images, from any function that maps canvases to vectors; each image is embedded only once."""

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
    """Images that are read only on request, such as those of a split."""

    def images(self, positions: Positions) -> Pixels:
        """Return images at positions (m,) in [0, n): (m, S, S, C)."""


@runtime_checkable
class OfSplits(Stored, Protocol):
    """Unmodified images from the splits of a store."""

    @property
    def places(self) -> tuple[tuple[Split, ...], Positions, Positions]:
        """The splits, and for each of the n images the number (n,) of its split among them and its row (n,) there."""
        ...


_BATCH_SIZE = 256  # images held in memory at once


def sample(images: Sized, count: int) -> Positions:
    """Return positions of up to `count` images, spread evenly over them."""
    return np.linspace(0, max(len(images) - 1, 0), min(count, len(images))).round().astype(np.int64)


def embedder(network: nn.Module, device: torch.device | None = None) -> Embed:
    """Return a function that computes a network's features of canvases.

    Args:
        network: Network from pixels to features; it is moved to the device and put into eval mode.
        device: Device to compute on; None for the fastest.
    """
    device = device or best_device()
    network.to(device).eval()

    def embed(images: Pixels) -> Features:
        with torch.inference_mode():
            features: Features = network(torch.from_numpy(images).to(device)).cpu().numpy()
        return features

    return embed


def extract(embed: Embed, images: Stored, positions: Positions | None = None) -> Features:
    """Return features (n, D), computed batch by batch; ranks that work together share the batches.

    Args:
        embed: Function that computes the features; a `Kept` one embeds only images that it has not embedded before.
        images: Images to embed.
        positions: Positions (n,) of the images to embed; None for all.
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
    """An encoder with a cache, which embeds each image of a split once, however many studies ask for it.

    Splits are identified by their content. Rows that have not been requested take no memory.

    Args:
        embed: Function that embeds canvases.
    """

    def __init__(self, embed: Embed):
        self._embed = embed
        self._known: dict[tuple[str, str], tuple[npt.NDArray[np.bool_], Features]] = {}

    def __call__(self, images: Pixels) -> Features:
        """Return embeddings (n, D) of canvases (n, S, S, C), without caching them."""
        return self._embed(images)

    def features(self, splits: tuple[Split, ...], owners: Positions, rows: Positions) -> Features:
        """Return features (n, D) of images in splits, located as in `OfSplits.places`."""
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
