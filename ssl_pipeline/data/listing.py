"""What lies in a directory or a .zip: names, and how to read one. Nothing is unpacked; what is left out is named."""

import functools
import lzma
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ssl_pipeline.data.decode import RejectedError
from ssl_pipeline.errors import ConfigError

__all__ = ["Listing", "Reader", "list_images"]

Reader = Callable[[str, int], bytes | Image.Image]
"""Reads one image by its name, or raises `RejectedError`; the second argument is the most bytes that it may have."""

_OTHER_SUFFIXES = frozenset(
    """.cfg .csv .db .doc .docx .dvc .htm .html .ini .ipynb .json .jsonl .log .md .odt .pdf .pickle .pkl .py .rst .rtf
    .tsv .txt .url .xls .xlsx .xml .yaml .yml""".split()  # noqa: SIM905  thirty quoted words read no better
)
_OTHER_NAMES = frozenset({"readme", "license", "licence", "copying", "makefile"})


@dataclass
class Listing:
    """Files of a source.

    Attributes:
        names: Of what may be images, sorted; folders are separated by "/".
        read: Reads one of them.
        ignored: Name -> why it is taken for no image.
        rejects: Name -> why it cannot be read.
    """

    read: Reader
    names: list[str] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)
    rejects: dict[str, RejectedError] = field(default_factory=dict)

    def sort_in(self, entries: Iterable[tuple[str, RejectedError | None]]) -> "Listing":
        """Add files: each a name, and why it cannot be read, if so."""
        for name, rejection in sorted(entries, key=lambda entry: entry[0]):
            shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            reason = _no_image(name)
            if reason:
                self.ignored[shown] = reason
            elif shown != name:
                self.rejects[shown] = RejectedError("unreadable", "its name is not valid UTF-8; rename it")
            elif rejection:
                self.rejects[self._unused(name)] = rejection
            else:
                self.names.append(name)
        return self

    def _unused(self, name: str) -> str:
        return name if name not in self.rejects else self._unused(name + " (again)")


def list_images(path: Path) -> Listing:
    """List a directory or a .zip.

    Raises:
        ConfigError: It is neither.
    """
    if not path.exists():
        raise ConfigError(
            f"augment.source.path: {path} does not exist. Give the path of a directory or of a .zip with images, "
            "relative to the folder of params.yaml."
        )
    if path.is_dir():
        return Listing(functools.partial(_read_file, path)).sort_in(_walk(path, "", frozenset()))
    try:
        with zipfile.ZipFile(path) as archive:
            return Listing(functools.partial(_read_member, path)).sort_in(_members(archive))
    except (zipfile.BadZipFile, OSError) as error:
        raise ConfigError(f"augment.source.path: {path} is neither a directory nor a whole .zip ({error}).") from error


def _no_image(name: str) -> str | None:
    """Why a file is taken for no image, by its name alone; None where only decoding can tell."""
    parts = name.split("/")
    last = parts[-1].lower()
    if "__MACOSX" in parts:
        return "macOS's notes in an archive"
    if any(part.startswith(".") and part != ".." for part in parts):
        return "hidden"
    if os.path.splitext(last)[1] in _OTHER_SUFFIXES or last in _OTHER_NAMES:
        return "no image by its name"
    return None


def _walk(folder: Path, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[tuple[str, RejectedError | None]]:
    """List a directory with all below it, through links too, but not round in circles."""
    try:
        status = folder.stat()
        place = status.st_dev, status.st_ino
        if place in above:
            yield prefix.rstrip("/"), RejectedError("unreadable", "a link to a folder that it lies in")
            return
        entries = list(os.scandir(folder))
    except OSError as error:
        yield prefix.rstrip("/"), RejectedError("unreadable", error.strerror or str(error))
        return
    for entry in entries:
        if entry.is_dir():
            yield from _walk(Path(entry.path), f"{prefix}{entry.name}/", above | {place})
        elif entry.is_file():
            yield prefix + entry.name, None
        else:
            yield prefix + entry.name, RejectedError("unreadable", "a broken link, or no regular file")


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, RejectedError | None]]:
    seen = set()
    for info in archive.infolist():
        name = info.filename
        if info.is_dir():
            continue
        if name in seen:
            yield name, RejectedError("unreadable", "the archive has another file of that name")
        elif "\\" in name:
            yield name, RejectedError("unreadable", "its path has backslashes; pack the archive with another program")
        elif name.startswith("/") or ".." in name.split("/"):
            yield name, RejectedError("unreadable", "its path leads out of the archive")
        elif stat.S_ISLNK(info.external_attr >> 16):
            yield name, RejectedError("unreadable", "a link inside an archive")
        else:
            yield name, None
        seen.add(name)


def _check_bytes(size: int, limit: int) -> None:
    if size > limit:
        raise RejectedError("too large", f"a file of {size / 1e6:.0f} MB; the limit is {limit / 1e6:.0f} MB")


def _read_file(root: Path, name: str, limit: int) -> bytes:
    try:
        path = root / name
        _check_bytes(path.stat().st_size, limit)
        return path.read_bytes()
    except OSError as error:
        raise RejectedError("unreadable", error.strerror or str(error)) from error


@functools.lru_cache(maxsize=1)
def _open_archive(path: Path) -> zipfile.ZipFile:
    """Each process opens an archive once: its directory may have a million lines."""
    return zipfile.ZipFile(path)


def _read_member(path: Path, name: str, limit: int) -> bytes:
    try:
        archive = _open_archive(path)
        _check_bytes(archive.getinfo(name).file_size, limit)
        return archive.read(name)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError) as error:
        raise RejectedError("unreadable", f"in the archive: {error}") from error  # damaged, or encrypted
