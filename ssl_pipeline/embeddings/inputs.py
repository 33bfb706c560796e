"""The input images of a command: files, folders and .zip archives, in an order that depends on names alone."""

import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ssl_pipeline.data.archive import read_member
from ssl_pipeline.data.clips import about_films, frames_of, is_frame_of_film, look_at_films, read_film
from ssl_pipeline.data.film import require_reader
from ssl_pipeline.data.listing import Reader, list_images, read_file
from ssl_pipeline.data.litter import A_FILM, no_image
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown

__all__ = ["Inputs", "Place", "find_inputs", "reader_of"]

_KEY, _ADVICE = "IMAGES", "Name files, folders or .zip archives of images."
_NO_TEXT = "its name is not valid UTF-8; rename it"
_MOST_FRAMES = 1_000_000
"""Largest number of frames of a film that are embedded."""
_ARCHIVE_HEADS = (b"PK\x03\x04", b"PK\x05\x06")


class Place(NamedTuple):
    """A folder, an archive, or a list of files that were named individually.

    Attributes:
        prefix: Text that turns a name into the path that a person would write.
        names: Names of the images, as `read` takes them.
        read: Function that reads one image.
        mean_bytes: Mean size of the files in bytes.
    """

    prefix: str
    names: Sequence[str]
    read: Reader
    mean_bytes: int


@dataclass
class Inputs:
    """All images of a command.

    Attributes:
        places: Locations of the images, in the order of the command line.
        rejects: Path -> reason why a listed file cannot be read.
        ignored: Number of files in folders and archives whose names are not those of images.
        warnings: Warnings about the images, one sentence each.
        fingerprint: SHA-256 of all names, sizes and modification times; equal fingerprints mean equal images.
    """

    places: list[Place] = field(default_factory=list)
    rejects: dict[str, RejectedError] = field(default_factory=dict)
    ignored: int = 0
    warnings: list[str] = field(default_factory=list)
    fingerprint: str = ""

    def __len__(self) -> int:
        return sum(len(place.names) for place in self.places)

    def part(self, start: int, stop: int) -> Iterator[Place]:
        """Yield the places of the images from number `start` up to, but not including, number `stop`."""
        for place in self.places:
            names = place.names[max(start, 0) : max(stop, 0)]
            if names:
                yield place._replace(names=names)
            start, stop = start - len(place.names), stop - len(place.names)


def find_inputs(paths: Sequence[Path], left_out: Sequence[Path] = (), fps: float | None = None) -> Inputs:
    """List the images in files, folders and archives; a file that is named twice is listed once.

    Args:
        paths: Files, folders and .zip archives. A file named explicitly is taken for an image, whatever its name.
        left_out: Files and folders that are never inputs, because the command itself writes them.
        fps: Frames per second to take from films, None to ignore films.

    Raises:
        ConfigError: A path does not exist, is neither a file nor a folder, or is a folder or an archive whose own name
            is not UTF-8.
    """
    inputs, total, seen = Inputs(), hashlib.sha256(), set[str]()
    for place, stamp in _places(paths, inputs, fps):
        own = [os.path.relpath(path, place.prefix or ".") for path in left_out]
        names, size = [], 0
        for name in place.names:
            if any(name == mine or name.startswith(mine + "/") for mine in own):
                continue
            if len(paths) > 1:
                path = os.path.normpath(place.prefix + name)
                if path in seen:
                    continue
                seen.add(path)
            found = stamp(name)
            total.update(f"{place.prefix}{name}\0{found}\n".encode())
            size += found.size
            names.append(name)
        if names:
            inputs.places.append(place._replace(names=names, mean_bytes=size // len(names)))
    inputs.fingerprint = total.hexdigest()
    return inputs


def reader_of(path: Path) -> tuple[Reader, str]:
    """Return the reader for a path from `Inputs`, and the name by which this reader knows the image."""
    if is_frame_of_film(str(path)):
        return functools.partial(read_film, Path(), ()), str(path)
    for folder in path.parents:
        if folder.is_file():  # an archive, whose members' paths begin with its own
            return functools.partial(read_member, folder.absolute()), path.relative_to(folder).as_posix()
    return functools.partial(read_file, Path()), str(path)


class _Stamp(NamedTuple):
    """Size in bytes and modification time in ns of a file; for a member of an archive, its share of the archive."""

    size: int
    changed: int


_Stamper = Callable[[str], _Stamp]


def _places(paths: Sequence[Path], inputs: Inputs, fps: float | None) -> Iterator[tuple[Place, _Stamper]]:
    files: list[str] = []
    for path in paths:
        is_file = path.is_file()
        if is_file and fps and no_image(path.name) == A_FILM:
            yield from _named(files)
            files = []
            yield from _films(Path(), "", _valid(path, inputs), fps, inputs)
            continue
        if is_file and not _is_archive(path):
            files += _valid(path, inputs)
            continue
        if not _is_text(path):
            raise ConfigError(f"{_KEY}: {shown(str(path), 200)} cannot be used: {_NO_TEXT}.")
        yield from _named(files)
        files = []
        # processes cache the last open archive by its path, so the path must not depend on the current folder
        listing = list_images(path.absolute() if is_file else path, _KEY, _ADVICE)
        prefix = "" if path == Path() else path.as_posix().rstrip("/") + "/"
        inputs.rejects |= {prefix + name: reason for name, reason in listing.rejects.items()}
        inputs.ignored += len(listing.ignored)
        inputs.warnings += listing.warnings
        stamp = functools.partial(_stamp, str(path))
        if is_file:
            whole = _stamp("", str(path))
            share = whole._replace(size=whole.size // max(1, len(listing.names)))
            stamp = functools.partial(_same, share)
        yield Place(prefix, listing.names, listing.read, 0), stamp
        if fps and not is_file:
            films = sorted(name for name, reason in listing.ignored.items() if reason == A_FILM)
            inputs.ignored -= len(films)
            yield from _films(path, prefix, films, fps, inputs)
    yield from _named(files)


def _named(files: Sequence[str]) -> Iterator[tuple[Place, _Stamper]]:
    if files:
        yield Place("", files, functools.partial(read_file, Path()), 0), functools.partial(_stamp, "")


def _films(
    root: Path, prefix: str, films: Sequence[str], fps: float, inputs: Inputs
) -> Iterator[tuple[Place, _Stamper]]:
    """Yield the frames of films; each frame counts as an equal share of the bytes of its film."""
    if not films:
        return
    require_reader("IMAGES")
    seen, rejects = look_at_films(root, films, fps, _MOST_FRAMES)
    inputs.rejects |= {prefix + film: reason for film, reason in rejects.items()}
    inputs.warnings += about_films(seen)
    stamps = {film: _stamp(str(root), film) for film in seen}
    shares = {film: stamp._replace(size=stamp.size // len(seen[film].seconds)) for film, stamp in stamps.items()}
    names = [frame.path for film, one in seen.items() for frame in frames_of(film, one)]
    read = functools.partial(read_film, root, frozenset(film for film, one in seen.items() if one.in_order))
    yield Place(prefix, names, read, 0), lambda name: shares[name.rpartition("#")[0]]


def _valid(path: Path, inputs: Inputs) -> list[str]:
    """Return the name of a file; if it is not valid text, add the file to the rejects instead."""
    if _is_text(path):
        return [path.as_posix()]
    inputs.rejects[ascii(str(path))] = RejectedError("unreadable", _NO_TEXT)
    return []


def _is_text(path: Path) -> bool:
    """Return whether a path can be encoded as UTF-8, as tables require."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_archive(path: Path) -> bool:
    """Return whether a file is a .zip by its first bytes, with which no image format begins."""
    try:
        with path.open("rb") as file:
            return file.read(4) in _ARCHIVE_HEADS
    except OSError as error:
        raise ConfigError(f"{_KEY}: {shown(str(path), 200)} cannot be read ({error.strerror}). {_ADVICE}") from error


def _stamp(folder: str, name: str) -> _Stamp:
    try:
        state = os.stat(os.path.join(folder, name))
    except OSError:
        return _Stamp(0, 0)
    return _Stamp(state.st_size, state.st_mtime_ns)


def _same(stamp: _Stamp, name: str) -> _Stamp:
    del name
    return stamp
