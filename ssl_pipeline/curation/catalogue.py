"""What is looked at: the stored images of all splits, and the embeddings that the exported file makes of them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.image_spec import RGB8, Pixels
from ssl_pipeline.data.index import read_index
from ssl_pipeline.data.near_copies import is_near_copies
from ssl_pipeline.data.store import SPLITS, IndexRow, Split, open_split
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.neighbours import unit
from ssl_pipeline.products import verified
from ssl_pipeline.progress import track

__all__ = ["Catalogue", "read_catalogue"]

Features = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]

_BATCH_SIZE = 256  # images that are in memory at a time


@dataclass(frozen=True)
class Catalogue:
    """The stored images, n in all: those of train first, then val, then test.

    Attributes:
        rows: What the index says of each.
        splits: The splits that have them.
        embeddings: (n, D) embeddings of unit length.
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
        """Numbers (n,), equal for images that the source puts into one group; near copies that ingest found are not."""
        return _numbered(["" if is_near_copies(row.group) else row.group for row in self.rows])

    @cached_property
    def near_copies(self) -> Numbers:
        """Numbers (n,), equal for near copies that ingest found."""
        return _numbered([row.group if is_near_copies(row.group) else "" for row in self.rows])

    def pictures(self, positions: Numbers) -> npt.NDArray[np.uint8]:
        """Return images at positions (m,) in [0, n) as people see them: (m, S, S, 3)."""
        starts = np.cumsum([0, *map(len, self.splits)])
        owners = np.searchsorted(starts, positions, side="right") - 1
        pixels = [
            self.splits[owner].images(np.array([position - starts[owner]]))[0]
            for owner, position in zip(owners, positions, strict=True)
        ]
        spec = self.splits[0].spec
        images: Pixels = np.stack(pixels)
        if spec == RGB8:
            return images
        from ssl_pipeline.augment.display import displayed  # imports torch, which photographs need not wait for

        return displayed(images, spec)


def _numbered(names: list[str]) -> Numbers:
    """Return numbers (n,), equal for equal names; "" is equal to none."""
    known: dict[str, int] = {}
    return np.array([known.setdefault(name, place) if name else place for place, name in enumerate(names)], np.int64)


def read_catalogue(store: Path, backbone: Path) -> Catalogue:
    """Open the store, and embed each of its images once.

    Args:
        store: The folder of the images.
        backbone: The exported file.

    Raises:
        PipelineError: A product is missing or damaged.
    """
    session = open_session(verified(backbone, "export"))
    rows = read_index(store)
    splits = tuple(open_split(store, name) for name in SPLITS)
    batches = [(split, start) for split in splits for start in range(0, len(split), _BATCH_SIZE)]
    found = [
        run(session, split.images(np.arange(start, min(start + _BATCH_SIZE, len(split)))))
        for split, start in track(batches, "embeddings", total=len(batches))
    ]
    return Catalogue(tuple(rows), splits, unit(np.concatenate(found)))
