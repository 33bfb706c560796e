"""The store: images on equal canvases in memory-mapped shards, a folder for each split, and an index of their origins.

    store/train/  images-0000.npy ...  (n, canvas, canvas, channels), each shard of bounded size
                  ids.npy              uint64 (n,), the first eight bytes of each content's hash
                  split.json           n, canvas, images (what their values mean), mean, std, sha256
                  digests.json         SHA-256 of each of these files
    store/val/, store/test/            the same; a split may be empty
    store/index.csv                    id, path, label, split, group, width, height, row
    store/framing.json                 how images became canvases; see `ssl_pipeline.data.framing`
    store/originals.npz                some images at their own shapes, to check a deployed graph with
    store/digests.json                 SHA-256 of these three files

Pretraining opens `store/train` and `store/framing.json`, and nothing else: labels and test images are in other files.
"""

import csv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError  # numpy reads the header of a file as Python
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import read_product, verified
from ssl_pipeline.remedies import remake

__all__ = [
    "SPLITS",
    "IndexRow",
    "Labels",
    "Original",
    "Split",
    "SplitName",
    "labels_of",
    "open_split",
    "read_index",
    "read_labels",
    "read_originals",
]

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


class IndexRow(NamedTuple):
    """Where one stored image came from. `label` and `group` are empty where there is none."""

    id: str
    path: str
    label: str
    split: str
    group: str
    width: int
    height: int
    row: int


class Labels(NamedTuple):
    """What is known of the images of a split besides their pixels.

    Attributes:
        classes: Names of the classes of the whole store, sorted.
        labels: (n,) int64, each an index of `classes`, or -1 for an image without a label.
        groups: (n,) int64 numbers, equal for images of one group; an image without a group is a group of its own.
    """

    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]


class Original(NamedTuple):
    """An image as it was decoded, (H, W, C), and the canvas that belongs to it."""

    image: Pixels
    split: str
    row: int


@dataclass(frozen=True)
class Split:
    """One split of the store; its images stay on disk until they are asked for.

    Attributes:
        name: train, val or test.
        canvas: Side of an image, px.
        ids: (n,) uint64 identities of the images, by content; sorted.
        mean: The mean of each channel over this split, as a share of the full scale.
        std: The standard deviation of each channel over this split, as a share of the full scale.
        sha256: The digest of the shards and ids.
        shards: Arrays (m, canvas, canvas, C) of n images in all.
        files: The files of the shards, each of which is read whole and held against its digest before its first image
            is given out; empty for shards that are in memory.
        spec: What the images' values mean.
    """

    name: str
    canvas: int
    ids: npt.NDArray[np.uint64]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str
    shards: tuple[Pixels, ...]
    files: tuple[Path, ...] = ()
    spec: ImageSpec = RGB8
    _checked: set[int] = field(default_factory=set, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def places(self) -> "tuple[tuple[Split, ...], npt.NDArray[np.int64], npt.NDArray[np.int64]]":
        """This split, and for each image the number (n,) of its split, 0, and its row (n,)."""
        return (self,), np.zeros(len(self), np.int64), np.arange(len(self))

    def images(self, positions: npt.NDArray[np.integer]) -> Pixels:
        """Gather images by their rows: positions (m,) -> (m, canvas, canvas, C).

        Raises:
            IndexError: A position is not in [0, n).
            PipelineError: A shard is not what was written.
        """
        positions = np.asarray(positions)
        if len(positions) and not (positions.min() >= 0 and positions.max() < len(self)):
            raise IndexError(f"positions must lie in [0, {len(self)}), got {positions.min()} to {positions.max()}")
        gathered: Pixels = np.empty(
            (len(positions), self.canvas, self.canvas, self.spec.channels), self.spec.numpy_dtype
        )
        starts = np.cumsum([0, *(len(shard) for shard in self.shards)])
        owners = np.searchsorted(starts, positions, side="right") - 1
        for number in np.unique(owners):
            if self.files and number not in self._checked:
                verified(self.files[number], "ingest")
                self._checked.add(int(number))
            mine = owners == number
            gathered[mine] = self.shards[number][positions[mine] - starts[number]]
        return gathered


def open_split(store: Path, name: SplitName) -> Split:
    """Open a split for reading.

    Raises:
        PipelineError: It is not there, or its files do not fit together.
    """
    folder = store / name
    facts = read_product(folder / "split.json", "ingest")
    if "n" in facts and "images" not in facts:
        raise PipelineError(
            f"{folder} is of an earlier version, which did not say what values of images mean: {remake('ingest')}."
        )
    files = tuple(sorted(folder.glob("images-*.npy")))
    try:
        ids = np.load(verified(folder / "ids.npy", "ingest"))
        shards = tuple(np.load(path, mmap_mode="r") for path in files)
        canvas = int(facts["canvas"])
        mean, std, spec = tuple(facts["mean"]), tuple(facts["std"]), ImageSpec.model_validate(facts["images"])
        split = Split(name, canvas, ids, mean, std, facts["sha256"], shards, files, spec)
        fits = ids.dtype == np.uint64 and len(split) == facts["n"] == sum(map(len, shards))
        shape = canvas, canvas, spec.channels
        fits &= all(shard.dtype == spec.numpy_dtype and shard.shape[1:] == shape for shard in shards)
    except (OSError, ValueError, EOFError, KeyError, TypeError, ValidationError, TokenError) as error:
        raise PipelineError(f"{folder} is damaged ({error}): {remake('ingest')}.") from error
    if not fits:
        raise PipelineError(f"{folder} is damaged (its files do not fit together): {remake('ingest')}.")
    return split


def read_index(store: Path) -> list[IndexRow]:
    """Read the index, sorted by split and row.

    Raises:
        PipelineError: It is missing or damaged.
    """
    path = verified(store / "index.csv", "ingest")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = csv.reader(file, strict=True)
            if tuple(next(lines, ())) != IndexRow._fields:
                raise ValueError("its header is not the expected one")
            rows = [_index_row(*line) for line in lines]
        return sorted(rows, key=lambda row: (SPLITS.index(row.split), row.row))
    except (ValueError, TypeError, csv.Error) as error:
        raise PipelineError(f"{path} is damaged ({error}): {remake('ingest')}.") from error


def _index_row(name: str, path: str, label: str, split: str, group: str, width: str, height: str, row: str) -> IndexRow:
    return IndexRow(name, path, label, split, group, int(width), int(height), int(row))


def read_labels(store: Path, name: SplitName) -> Labels:
    """Read the labels of a split; `classes` are those of the whole store, so that they mean the same in every split."""
    return labels_of(read_index(store), name)


def labels_of(rows: Sequence[IndexRow], name: SplitName) -> Labels:
    """Return the labels of a split, given all rows of the index as `read_index` returns them."""
    classes = tuple(sorted({row.label for row in rows} - {""}))
    numbers = {label: number for number, label in enumerate(classes)} | {"": -1}
    mine = [row for row in rows if row.split == name]
    named: dict[str, int] = {}
    groups = [named.setdefault(row.group, number) if row.group else number for number, row in enumerate(mine)]
    return Labels(classes, np.array([numbers[row.label] for row in mine], np.int64), np.array(groups, np.int64))


def read_originals(store: Path) -> list[Original]:
    """Read the images that were kept at their own shapes, grey ones among them if there are any."""
    path = verified(store / "originals.npz", "ingest")
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            places = list(zip(file["splits"].tolist(), file["rows"].tolist(), strict=True))
            return [Original(file[f"{number:04}"], *place) for number, place in enumerate(places)]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise PipelineError(f"{path} is damaged ({error}): {remake('ingest')}.") from error
