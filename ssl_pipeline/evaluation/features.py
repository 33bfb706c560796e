"""Features of the stored images, by whatever turns canvases into vectors."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.store import Split, SplitName, open_split, read_labels
from ssl_pipeline.progress import track

__all__ = ["Embed", "Labelled", "extract", "labelled", "sample"]

Features = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]
Embed = Callable[[npt.NDArray[np.uint8]], Features]
"""Canvases (n, C, C, 3) uint8 -> features (n, D) float32, row by row. n may be 0."""

_BATCH = 256  # images that are in memory at a time


class Labelled(NamedTuple):
    """The labelled images of a split: rows and labels, both (n,). `classes` are those of the whole store."""

    split: Split
    positions: Positions
    labels: npt.NDArray[np.int64]
    classes: tuple[str, ...]


def labelled(store: Path, name: SplitName) -> Labelled:
    """Open a split's labelled images; there may be none."""
    classes, labels = read_labels(store, name)
    positions = np.flatnonzero(labels >= 0)
    return Labelled(open_split(store, name), positions, labels[positions], classes)


def sample(split: Split, count: int) -> Positions:
    """Rows of up to `count` images, spread evenly over the split (which is sorted by a hash of content)."""
    return np.linspace(0, max(len(split) - 1, 0), min(count, len(split))).round().astype(np.int64)


def extract(embed: Embed, split: Split, positions: Positions, description: str) -> Features:
    """Features (n, D) of some of a split's images, batch by batch.

    Args:
        embed: What makes the features.
        split: Whose images.
        positions: (n,) rows.
        description: What a progress bar says.
    """
    starts = range(0, max(len(positions), 1), _BATCH)
    return np.concatenate(
        [embed(split.images(positions[start : start + _BATCH])) for start in track(starts, description)]
    )
