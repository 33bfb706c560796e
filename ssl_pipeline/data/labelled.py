"""The labelled images of a store: what is learned from, chosen on and measured on where labels are allowed."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.data.labels import Labels, read_labels
from ssl_pipeline.data.store import SPLITS, Split, open_split

__all__ = ["Labelled", "LabelledSplits", "read_labelled"]

Array = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Labelled:
    """Some images of a split, with their labels. The images stay on disk until they are asked for.

    Attributes:
        split: The split that has the images.
        rows: (n,) int64 rows of the split.
        labels: (n,) int64 class numbers.
        groups: (n,) int64 numbers, equal for images of one group (a track, a patient); chance draws groups, not images.
    """

    split: Split
    rows: Array
    labels: Array
    groups: Array

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> npt.NDArray[np.uint64]:
        """Identities of the images: (n,)."""
        return self.split.ids[self.rows]

    @property
    def places(self) -> tuple[tuple[Split, ...], Array, Array]:
        """The split, and for each image the number (n,) of its split, 0, and its row (n,) there."""
        return (self.split,), np.zeros(len(self), np.int64), self.rows

    @property
    def spec(self) -> ImageSpec:
        """What the images' values mean."""
        return self.split.spec

    def images(self, positions: Array) -> Pixels:
        """Return images at positions (m,) in [0, n): (m, canvas, canvas, C)."""
        return self.split.images(self.rows[positions])

    def subset(self, positions: Array) -> "Labelled":
        """Return the images at positions (m,) in [0, n)."""
        return Labelled(self.split, self.rows[positions], self.labels[positions], self.groups[positions])


class LabelledSplits(NamedTuple):
    """The labelled images of each split, and the names of the classes."""

    train: Labelled
    val: Labelled
    test: Labelled
    classes: tuple[str, ...]


def read_labelled(store: Path) -> LabelledSplits:
    """Read the labelled images of a store; empty splits and no classes are possible.

    Raises:
        PipelineError: A split or the labels are missing or damaged.
    """
    known = {name: read_labels(store, name) for name in SPLITS}
    parts = {name: _labelled(open_split(store, name), labels) for name, labels in known.items()}
    return LabelledSplits(**parts, classes=known["train"].classes)


def _labelled(split: Split, known: Labels) -> Labelled:
    """Return the images of a split that have a label."""
    rows = np.flatnonzero(known.labels >= 0)
    return Labelled(split, rows, known.labels[rows], known.groups[rows])
