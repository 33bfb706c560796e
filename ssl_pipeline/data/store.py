"""The store: images on canvases of one size in memory-mapped shards, a folder per split, and an index of their origins.

    store/train/  images-0000.npy ...  (n, canvas, canvas, channels), each shard of bounded size
                  ids.npy              uint64 (n,), the first eight bytes of each content's hash
                  captions.npz         if images have captions; see `ssl_pipeline.data.captions`
                  moments.npz          if images are frames of clips; see `ssl_pipeline.data.moments`
                  split.json           n, canvas, images (the meaning of their values), mean, std, sha256, and the
                                       numbers of captions and of clips if there are any
                  digests.json         SHA-256 of each of these files
    store/val/, store/test/            the same; a split may be empty
    store/labels.npz                   labels and groups as arrays; see `ssl_pipeline.data.labels`
    store/index.csv                    origin of each image, one `IndexRow` per line, for people
    store/framing.json                 how images were fitted to canvases; see `ssl_pipeline.data.framing`
    store/originals.npz                some images at their original sizes, for checking a deployed graph
    store/digests.json                 SHA-256 of these four files

Pretraining opens only `store/train` and `store/framing.json`, and `store/val` if it watches held-out images. Labels and
test images are in other files.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tokenize import TokenError  # numpy reads the header of a file as Python
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from ssl_pipeline.data.captions import Captions, read_captions
from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.data.moments import Moments, read_moments
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import read_product, verified
from ssl_pipeline.remedies import remake

__all__ = [
    "SPLITS",
    "IndexRow",
    "Original",
    "Split",
    "SplitName",
    "images_at",
    "open_split",
    "read_originals",
]

SplitName = Literal["train", "val", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


class IndexRow(NamedTuple):
    """Origin of one stored image.

    Attributes:
        id: SHA-256 of the pixels, in hex.
        path: Path of the file in the source.
        label: Label; "" if there is none.
        split: Split: train, val or test.
        group: Group; "" if there is none.
        width: Width of the upright image, px.
        height: Height of the upright image, px.
        row: Row of the image in its split.
        file_bytes: Size of the file in bytes; 0 if there is no file.
        camera: Maker and model of the camera; "" if the file does not state them.
        taken: Time by the camera's clock, such as 2019-05-03T12:00:00; "" if the file does not state it.
    """

    id: str
    path: str
    label: str
    split: str
    group: str
    width: int
    height: int
    row: int
    file_bytes: int = 0
    camera: str = ""
    taken: str = ""


class Original(NamedTuple):
    """A decoded image of original size (H, W, C), with the split and row of its canvas."""

    image: Pixels
    split: str
    row: int


@dataclass(frozen=True)
class Split:
    """One split of the store; its images stay on disk until they are read.

    Attributes:
        name: Name of the split: train, val or test.
        canvas: Side of an image, px.
        ids: Identities of the images by content, (n,) uint64, sorted.
        mean: Mean of each channel over this split, as a share of the full scale.
        std: Standard deviation of each channel over this split, as a share of the full scale.
        sha256: Digest of the shards and ids, and of captions and moments if there are any.
        shards: Arrays (m, canvas, canvas, C) of n images in total.
        files: Files of the shards. Before its first image is returned, each file is read in full and compared with its
            digest. Empty for shards in memory.
        spec: Meaning of the images' values.
        captions: Captions of the images; None if no image has one.
        moments: Moments of the frames; None if no image is a frame.
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
    captions: Captions | None = None
    moments: Moments | None = None
    _checked: set[int] = field(default_factory=set, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def places(self) -> "tuple[tuple[Split, ...], npt.NDArray[np.int64], npt.NDArray[np.int64]]":
        """This split, and for each image the index of its split, here 0, (n,), and its row, (n,)."""
        return (self,), np.zeros(len(self), np.int64), np.arange(len(self))

    def images(self, positions: npt.NDArray[np.integer]) -> Pixels:
        """Return the images (m, canvas, canvas, C) at the rows `positions` (m,).

        Raises:
            IndexError: A position is not in [0, n).
            PipelineError: A shard differs from what was written.
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


def images_at(splits: Sequence[Split], positions: npt.NDArray[np.int64]) -> Pixels:
    """Return images (m, canvas, canvas, C) as they are stored.

    Args:
        splits: Splits of one store.
        positions: Positions of the images in the concatenated splits, (m,).

    Raises:
        PipelineError: A shard differs from what was written.
    """
    starts = np.cumsum([0, *map(len, splits)])
    owners = np.searchsorted(starts, positions, side="right") - 1
    canvas, spec = splits[0].canvas, splits[0].spec
    gathered: Pixels = np.empty((len(positions), canvas, canvas, spec.channels), spec.numpy_dtype)
    for number in np.unique(owners):
        mine = owners == number
        gathered[mine] = splits[number].images(positions[mine] - starts[number])
    return gathered


def open_split(store: Path, name: SplitName) -> Split:
    """Open a split for reading.

    Raises:
        PipelineError: The split is missing or damaged, or an earlier version wrote it.
    """
    folder = store / name
    facts = read_product(folder / "split.json", "ingest")
    if "n" in facts and "images" not in facts:
        raise PipelineError(
            f"{folder} was written by an earlier version, which did not record the meaning of pixel values: "
            f"{remake('ingest')}."
        )
    files = tuple(sorted(folder.glob("images-*.npy")))
    try:
        ids = np.load(verified(folder / "ids.npy", "ingest"))
        shards = tuple(np.load(path, mmap_mode="r") for path in files)
        canvas = int(facts["canvas"])
        mean, std, spec = tuple(facts["mean"]), tuple(facts["std"]), ImageSpec.model_validate(facts["images"])
        captions = read_captions(folder) if facts.get("captions") else None
        moments = read_moments(folder) if facts.get("clips") else None
        split = Split(name, canvas, ids, mean, std, facts["sha256"], shards, files, spec, captions, moments)
        fits = ids.dtype == np.uint64 and len(split) == facts["n"] == sum(map(len, shards))
        fits &= captions is None or len(captions) == len(split)
        fits &= moments is None or moments.clips.shape == moments.seconds.shape == ids.shape
        shape = canvas, canvas, spec.channels
        fits &= all(shard.dtype == spec.numpy_dtype and shard.shape[1:] == shape for shard in shards)
    except (OSError, ValueError, EOFError, KeyError, TypeError, ValidationError, TokenError) as error:
        raise PipelineError(f"{folder} is damaged ({error}): {remake('ingest')}.") from error
    if not fits:
        raise PipelineError(f"{folder} is damaged (its files do not match): {remake('ingest')}.")
    return split


def read_originals(store: Path) -> list[Original]:
    """Read the images that were kept at their original sizes, which include grey ones if there are any.

    Raises:
        PipelineError: The file is missing or damaged.
    """
    path = verified(store / "originals.npz", "ingest")
    try:
        with path.open("rb") as opened, np.load(opened) as file:
            places = list(zip(file["splits"].tolist(), file["rows"].tolist(), strict=True))
            return [Original(file[f"{number:04}"], *place) for number, place in enumerate(places)]
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise PipelineError(f"{path} is damaged ({error}): {remake('ingest')}.") from error
