"""The images of `benchmarks.starts`, in files that are small enough to be copied to another machine.

| set | training | validation | test | groups |
|---|---|---|---|---|
| clothing | 4/5 of the original split | original split | original split and 1/5 of the training split | none |
| tracks | 25 of 30 frames of 8 tracks per class | 15 frames of each other training track | 15 per track | tracks |
| cifar10 | 300 per class | 50 per class | 200 per class | none |

The file of an image is copied, unless the image is larger than a canvas; it then becomes a JPEG with quality 90 that
fits into a canvas.
"""

import io
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from ssl_pipeline.data.decode import to_canvas
from ssl_pipeline.data.labelled import Labelled, LabelledSplits
from ssl_pipeline.data.store import SPLITS, Split
from ssl_pipeline.randomness import hash64

__all__ = ["SETS", "SIDE", "pack", "read"]

SIDE = 96
"""Side of a canvas and of a view, px."""
QUALITY = 90
BACKGROUND = (255, 255, 255)


class Kept(NamedTuple):
    """An image of a set.

    Attributes:
        member: Name of its file in the archive.
        split: Split that it belongs to.
        kind: Its class.
        group: Its group.
    """

    member: str
    split: str
    kind: str
    group: str


def _clothing(names: list[str]) -> Iterator[Kept]:
    for number, name in enumerate(names):
        split, kind, file = Path(name).parts[-3:]
        yield Kept(name, "test" if split == "train" and number % 5 == 0 else split, kind, Path(file).stem)


def _tracks(names: list[str]) -> Iterator[Kept]:
    tracks: defaultdict[str, list[str]] = defaultdict(list)
    for split, kind, track, _ in (Path(name).parts[-4:] for name in names):
        if split == "train" and track not in tracks[kind]:
            tracks[kind].append(track)
    for name in names:
        split, kind, track, file = Path(name).parts[-4:]
        number = int(Path(file).stem)
        if split == "train" and track in tracks[kind][8:]:
            split = "val"
        if number % 6 < 5 if split == "train" else number % 2 == 0:
            yield Kept(name, split, kind, track)


def _cifar10(names: list[str]) -> Iterator[Kept]:
    shares = {"train": [("train", 0, 300), ("val", 300, 350)], "test": [("test", 0, 200)]}
    for name in names:
        given, kind, number = Path(name).parts[-3], Path(name).parts[-2], int(Path(name).stem)
        for split, first, end in shares[given]:
            if first <= number < end:
                yield Kept(name, split, kind, Path(name).stem)


Resize = Literal["squash", "letterbox"]


class Source(NamedTuple):
    """The origin of a set.

    Attributes:
        archives: Paths of its zip files.
        choose: Function that selects images from the names of their members.
        resize: Way to fit an image into a canvas.
    """

    archives: tuple[str, ...]
    choose: Callable[[list[str]], Iterator[Kept]]
    resize: Resize


SETS = {
    "clothing": Source(("clothing/clothing.zip",), _clothing, "letterbox"),
    "tracks": Source(("tracks/tracks.zip",), _tracks, "squash"),
    "cifar10": Source(("cifar10/train.zip", "cifar10/test.zip"), _cifar10, "squash"),
}


def pack(name: str, data: Path, out: Path) -> dict[str, int]:
    """Write the images of a set to `out/NAME.zip`; return the number of images in each split.

    Args:
        name: Name of the set.
        data: Folder that contains a folder with the archives of each set.
        out: Folder that receives the file.
    """
    out.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = dict.fromkeys(SPLITS, 0)
    with zipfile.ZipFile(out / f"{name}.zip", "w") as packed:
        for path in SETS[name].archives:
            with zipfile.ZipFile(data / path) as archive:
                prefix = f"{Path(path).stem}/" if len(SETS[name].archives) > 1 else ""  # CIFAR-10's archives are splits
                members = {prefix + member: member for member in sorted(archive.namelist()) if member.endswith(".jpg")}
                for kept in SETS[name].choose(list(members)):
                    content = _small(archive.read(members[kept.member]))
                    file = f"{kept.split}/{kept.kind}/{kept.group}/{Path(kept.member).name}"
                    packed.writestr(zipfile.ZipInfo(file), content)
                    counts[kept.split] += 1
    return counts


def _small(content: bytes) -> bytes:
    """Return a file unchanged, or as a JPEG that fits into a canvas if its image is larger."""
    with Image.open(io.BytesIO(content)) as image:
        if max(image.size) <= SIDE:
            return content
        image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
        out = io.BytesIO()
        image.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def read(name: str, folder: Path, limit: int | None = None) -> LabelledSplits:
    """Return the images of a set, resized to canvases as `ingest` does.

    Args:
        name: Name of the set.
        folder: Folder written by `pack`.
        limit: Largest number of images per split, evenly spaced in the archive and thus over classes; None: all.
    """
    found: dict[str, list[tuple[str, bytes]]] = {split: [] for split in SPLITS}
    with zipfile.ZipFile(folder / f"{name}.zip") as file:
        members = {split: [one for one in file.namelist() if one.startswith(f"{split}/")] for split in SPLITS}
        for split, own in members.items():
            places = np.linspace(0, len(own) - 1, min(limit or len(own), len(own))).round().astype(int)
            found[split] = [(own[place], file.read(own[place])) for place in places]
    kinds = sorted({Path(member).parts[1] for member, _ in found["train"]})
    parts = {split: _labelled(split, files, kinds, SETS[name].resize) for split, files in found.items()}
    return LabelledSplits(**parts, classes=tuple(kinds))


def _labelled(split: str, files: list[tuple[str, bytes]], kinds: list[str], resize: Resize) -> Labelled:
    ids = np.array([int(hash64("starts", member)) for member, _ in files], np.uint64)
    order = np.argsort(ids)
    canvases = np.stack([_canvas(files[place][1], resize) for place in order])
    shares = [canvases[..., band] / 255 for band in range(3)]
    mean, std = (tuple(float(getattr(share, figure)()) for share in shares) for figure in ("mean", "std"))
    labels = np.array([kinds.index(Path(member).parts[1]) for member, _ in files])[order]
    groups = np.unique([str(Path(member).parent) for member, _ in files], return_inverse=True)[1][order]
    stored = Split(split, SIDE, ids[order], mean, std, f"starts, {split}", (canvases,))
    return Labelled(stored, np.arange(len(files)), labels, groups)


def _canvas(content: bytes, resize: Resize) -> npt.NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(to_canvas(image.convert("RGB"), SIDE, resize, BACKGROUND))
