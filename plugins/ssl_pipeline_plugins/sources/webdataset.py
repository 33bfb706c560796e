"""Images in .tar shards, with captions and classes: the layout of WebDataset (https://github.com/webdataset/webdataset).

Files of a shard whose paths are equal up to the first dot in the file name form one sample: 0001.jpg, 0001.txt,
0001.cls.
"""

import json
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_pipeline import hookimpl
from ssl_pipeline.data.caption_files import add_captions, read_texts
from ssl_pipeline.data.layout import SPLIT_NAMES, Record
from ssl_pipeline.data.listing import list_images
from ssl_pipeline.data.litter import AN_ARCHIVE
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.shards import Listed, list_shard, read_place, read_shard_file
from ssl_pipeline.data.source import PATH, Images, Pile, Source, find_source
from ssl_pipeline.data.store import SplitName
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import shown

if TYPE_CHECKING:
    from ssl_pipeline.types import Register  # imports torch

_IMAGES = ("avif", "bmp", "gif", "jp2", "jpeg", "jpg", "pbm", "pgm", "png", "pnm", "ppm", "tif", "tiff", "webp")
_NOTES = ("txt", "cls", "json")
_NOTE_BYTES = 2**20
_ADVICE = "Name a .tar, or a folder of them, relative to the folder of params.yaml."


class WebDataset(Source):
    """Images in .tar shards, which are read without being unpacked.

    The .txt of a sample holds its captions, one per line, and the .cls its class. If there is no .txt, `caption` in the
    .json is a caption or a list of captions. Images belong to the split train, val or test if the name of their shard
    or of its folder contains that word.

    Args:
        path: Path of a .tar, or of a folder of them, relative to the folder of params.yaml.
        captions: Whether to read captions.
    """

    def __init__(self, *, path: str, captions: bool = True):
        self.path = path
        self.captions = captions

    def open(self) -> Images:
        """List the images, and read their classes and captions."""
        root, shards, ignored = self._shards()
        records: list[Record] = []
        rejects: dict[str, RejectedError] = {}
        for shard in shards:
            listed = list_shard(root / shard)
            rejects |= {f"{shard}/{name}" if name else shard: reason for name, reason in listed.rejects.items()}
            samples = _Shard(root / shard, shard, listed, self.captions)
            told = read_texts(samples.texts, samples.read, self.path)
            records += add_captions(samples.records, told.captions)
            ignored |= samples.ignored | told.others
        if not records:
            such = next((f", such as {shown(name, 100)} ({reason})" for name, reason in rejects.items()), "")
            raise PipelineError(
                f"{PATH}: no images found in the {len(shards)} .tar files of {shown(self.path, 200)}{such}. A sample "
                "needs an image, such as 0001.jpg."
            )
        return Images(records, partial(read_shard_file, root), ignored, rejects)

    def files(self) -> Pile:
        """Return the shards."""
        root, shards, _ = self._shards()
        return Pile(root, shards)

    def _shards(self) -> tuple[Path, list[str], dict[str, str]]:
        """Return the folder of the shards, their names, and the other files with the reason why each is ignored.

        Raises:
            MissingSourceError: The path does not exist.
            PipelineError: The folder holds no shard.
        """
        place = find_source(self.path)
        if place.is_file():
            return place.parent, [place.name], {}
        listing = list_images(place, advice=_ADVICE)
        shards = [name for name, reason in listing.ignored.items() if reason == AN_ARCHIVE and name.endswith(".tar")]
        if not shards:
            raise PipelineError(f"{PATH}: there is no .tar in {shown(self.path, 200)}. {_ADVICE}")
        ignored = {name: reason for name, reason in listing.ignored.items() if name not in shards}
        return place, shards, ignored | dict.fromkeys(listing.names, "an image beside shards")


class _Shard:
    """The samples of a shard.

    Args:
        path: Path of the file.
        name: Path of the shard within the source.
        listed: Contents of the shard.
        captions: Whether to read captions.

    Attributes:
        records: Records of the images, with their classes and captions.
        ignored: Path -> the reason why a file is not used.
        texts: Path of a text with captions -> the images of its sample.
    """

    def __init__(self, path: Path, name: str, listed: Listed, captions: bool):
        self.path, self.name, self.places, self.captions = path, name, listed.places, captions
        self.records: list[Record] = []
        self.ignored: dict[str, str] = {}
        self.texts: dict[str, list[str]] = {}
        self.split = _split(name)
        for key, sample in _samples(listed).items():
            self._add(key, sample)

    def read(self, name: str, limit: int) -> bytes:
        """Read a file by its path in the source."""
        return read_place(self.path, self.places[name.removeprefix(f"{self.name}/")], limit)

    def _add(self, key: str, sample: Mapping[str, str]) -> None:
        files = {suffix: f"{self.name}/{name}" for suffix, name in sample.items()}
        images = [file for suffix, file in files.items() if suffix.rpartition(".")[2] in _IMAGES]
        if not images:
            self.ignored |= dict.fromkeys(files.values(), "of a sample without an image")
            return
        group = f"{self.name}/{key}" if len(images) > 1 else None
        label = self._class(files["cls"]) if "cls" in files else None
        captions: tuple[str, ...] = ()
        if self.captions and "txt" in files:
            self.texts[files["txt"]] = images
        elif self.captions and "json" in files:
            captions = self._captions(files["json"])
        self.records += [Record(image, label, self.split, group, captions) for image in images]
        others = [file for suffix, file in files.items() if suffix not in _NOTES and file not in images]
        self.ignored |= dict.fromkeys(others, "not an image, by its name")

    def _class(self, name: str) -> str | None:
        try:
            return self.read(name, _NOTE_BYTES).decode("utf-8-sig").strip() or None
        except (RejectedError, UnicodeDecodeError) as error:
            self.ignored[name] = f"a class that cannot be read: {error}"
            return None

    def _captions(self, name: str) -> tuple[str, ...]:
        """Return the captions in the metadata of a sample, in the format of img2dataset."""
        try:
            told = json.loads(self.read(name, _NOTE_BYTES))
        except (RejectedError, ValueError, RecursionError) as error:
            self.ignored[name] = f"metadata that cannot be read: {error}"
            return ()
        said = told.get("caption") if isinstance(told, dict) else None
        return tuple(one for one in (said if isinstance(said, list) else [said]) if isinstance(one, str))


def _samples(listed: Listed) -> dict[str, dict[str, str]]:
    """Return key -> suffix in lower case -> name. Files whose names have no dot, or begin with one, are left out."""
    samples: dict[str, dict[str, str]] = {}
    for name in listed.places:
        folder, slash, last = name.rpartition("/")
        stem, point, suffix = last.partition(".")
        if stem and point:
            samples.setdefault(folder + slash + stem, {})[suffix.lower()] = name
    return samples


def _split(shard: str) -> SplitName | None:
    """Return the split that the path of a shard names as a separate word, such as cc3m-train-0000.tar, if only one."""
    named = {SPLIT_NAMES[word] for word in re.findall(r"[a-z]+", shard.lower()) if word in SPLIT_NAMES}
    return named.pop() if len(named) == 1 else None


@hookimpl
def register_sources(register: "Register") -> None:
    """Add `webdataset`."""
    register("webdataset", WebDataset)
