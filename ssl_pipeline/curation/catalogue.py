"""The data to curate: the stored images of all splits, and their embeddings by the exported file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.data.index import read_index
from ssl_pipeline.data.near_copies import is_near_copies
from ssl_pipeline.data.store import SPLITS, IndexRow, Split, images_at, open_split
from ssl_pipeline.deployment.stored import embed_stored

__all__ = ["Catalogue", "read_catalogue"]

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Catalogue:
    """The n stored images: those of train first, then val, then test.

    Attributes:
        rows: Index row of each image, n.
        splits: Splits that contain the images.
        embeddings: Unit-norm embeddings (n, D).
    """

    rows: tuple[IndexRow, ...]
    splits: tuple[Split, ...]
    embeddings: Features

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return tuple(sorted({row.label for row in self.rows} - {""}))

    @cached_property
    def labels(self) -> Numbers:
        """Class numbers (n,); -1 for an image without a label."""
        numbers = {name: number for number, name in enumerate(self.classes)} | {"": -1}
        return np.array([numbers[row.label] for row in self.rows], np.int64)

    @cached_property
    def groups(self) -> Numbers:
        """Group numbers (n,), equal for images of one group of the source, but not for near copies found by ingest."""
        return _numbered(["" if is_near_copies(row.group) else row.group for row in self.rows])

    @cached_property
    def near_copies(self) -> Numbers:
        """Numbers (n,), equal for images that ingest found to be near copies of each other."""
        return _numbered([row.group if is_near_copies(row.group) else "" for row in self.rows])

    def pictures(self, positions: Numbers) -> npt.NDArray[np.uint8]:
        """Return the images at positions (m,) in [0, n) as displayable RGB, (m, S, S, 3)."""
        spec = self.splits[0].spec
        images = images_at(self.splits, positions)
        if spec == RGB8:
            return images
        from ssl_pipeline.augment.display import displayed  # imports torch, which ordinary photographs do not need

        return displayed(images, spec)


def _numbered(names: list[str]) -> Numbers:
    """Return numbers (n,), equal for equal names; each "" gets a number of its own."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(name, place) if name else place for place, name in enumerate(names)], np.int64)


def read_catalogue(store: Path, backbone: Path) -> Catalogue:
    """Open the store, and embed each of its images once.

    Args:
        store: Folder of the store of images.
        backbone: Path of the exported file.

    Raises:
        PipelineError: A product is missing or damaged.
    """
    rows = read_index(store)
    splits = tuple(open_split(store, name) for name in SPLITS)
    return Catalogue(tuple(rows), splits, embed_stored(backbone, splits, np.arange(len(rows))))
