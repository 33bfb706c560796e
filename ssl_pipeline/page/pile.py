"""All images of a store, in the order of its index: their index rows and their pixels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.data.index import read_index
from ssl_pipeline.data.store import SPLITS, IndexRow, Split, images_at, open_split
from ssl_pipeline.randomness import hash64

__all__ = ["Pile", "open_pile"]

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Pile:
    """All images of a store.

    Attributes:
        rows: Rows of the index, one per image, split by split.
        splits: Splits of the store, whose images follow each other in the order of `rows`.
    """

    rows: list[IndexRow]
    splits: list[Split]

    def __len__(self) -> int:
        return len(self.rows)

    def by_chance(self, purpose: str) -> Positions:
        """Return all positions (n,) in a pseudo-random order, by a hash of each image's content and the purpose."""
        ids = np.concatenate([split.ids for split in self.splits])
        return np.lexsort((ids, hash64("page", purpose, ids)))

    def labelled(self, split: str) -> list[int]:
        """Return the positions of a split's labelled images, in the order of the index."""
        return [position for position, row in enumerate(self.rows) if row.split == split and row.label]

    def images(self, positions: Positions) -> Pixels:
        """Return the stored images (m, S, S, C) at positions (m,) in [0, n)."""
        return images_at(self.splits, positions)


def open_pile(store: Path) -> Pile:
    """Open all images of a store.

    Raises:
        PipelineError: The store is missing or damaged.
    """
    return Pile(read_index(store), [open_split(store, name) for name in SPLITS])
