"""The labelled images of a store, for training, choosing settings and testing with labels."""

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
    """Some images of a split, with their labels. The images stay on disk until they are read.

    Attributes:
        split: Split that contains the images.
        rows: Rows of the images in the split, (n,) int64.
        labels: Class indices, (n,) int64.
        groups: Group numbers, (n,) int64, equal for images of one group (a track, a patient), which are always drawn
            together.
    """

    split: Split
    rows: Array
    labels: Array
    groups: Array

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> npt.NDArray[np.uint64]:
        """Identities of the images, (n,)."""
        return self.split.ids[self.rows]

    @property
    def places(self) -> tuple[tuple[Split, ...], Array, Array]:
        """The split, and for each image the index of its split, here 0, (n,), and its row there, (n,)."""
        return (self.split,), np.zeros(len(self), np.int64), self.rows

    @property
    def spec(self) -> ImageSpec:
        """Meaning of the images' values."""
        return self.split.spec

    def images(self, positions: Array) -> Pixels:
        """Return the images (m, canvas, canvas, C) at positions (m,) in [0, n)."""
        return self.split.images(self.rows[positions])

    def subset(self, positions: Array) -> "Labelled":
        """Return the subset of images at positions (m,) in [0, n)."""
        return Labelled(self.split, self.rows[positions], self.labels[positions], self.groups[positions])


class LabelledSplits(NamedTuple):
    """The labelled images of each split, and the names of the classes."""

    train: Labelled
    val: Labelled
    test: Labelled
    classes: tuple[str, ...]


def read_labelled(store: Path) -> LabelledSplits:
    """Read the labelled images of a store. Splits may be empty, and there may be no classes.

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
