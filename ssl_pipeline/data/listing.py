"""List the images in a directory or a ZIP archive, which is not unpacked, and report the files that are left out.

Each folder is entered once, under its own path or else under the first link to it. Links that multiply or lead round in
circles therefore cost no more than the folders themselves.
"""

import functools
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from ssl_pipeline.data.archive import NotAnArchiveError, check_bytes, members, read_member
from ssl_pipeline.data.litter import is_raw, no_image
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import counted, shown

__all__ = ["Listing", "MissingSourceError", "Reader", "list_images", "read_file"]

Reader = Callable[[str, int], bytes | Image.Image]
"""Function that reads one image, given its name and its largest size in bytes, or raises `RejectedError`."""

ListedName = tuple[str, RejectedError | str | None]
"""Name of a file, and the reason why it cannot be read (an error) or is left out (a text); None if it is a file."""

_ADVICE = "Give the path of a directory or of a .zip with images, relative to the folder of params.yaml."
_ALREADY_LISTED = "a link to a folder that is already listed"


class MissingSourceError(ConfigError):
    """The source does not exist; the message names its path."""


@dataclass
class Listing:
    """Files of a source.

    Attributes:
        read: Function that reads a file by its name.
        names: Paths of files that may be images, sorted, with folders separated by "/".
        ignored: Reason why each other file is not taken for an image, by path.
        rejects: Reason why a file cannot be read, by path.
        warnings: Warnings for the user, one sentence each.
    """

    read: Reader
    names: list[str] = field(default_factory=list)
    ignored: dict[str, str] = field(default_factory=dict)
    rejects: dict[str, RejectedError] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def sort_in(self, entries: Iterable[ListedName]) -> "Listing":
        """Add files, each to the names, the ignored files or the rejects."""
        raw, times = [], Counter[str]()
        for name, outcome in sorted(entries, key=lambda entry: entry[0]):
            listed = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            reason = no_image(name) or (outcome if isinstance(outcome, str) else None)
            times[name] += 1
            if times[name] > 1:  # an archive can contain several files with the same name
                listed += f" ({times[name]})"
            if reason:
                self.ignored[listed] = reason
            elif isinstance(outcome, RejectedError):
                self.rejects[listed or "(no name)"] = outcome
            elif listed != name:
                self.rejects[listed] = RejectedError("unreadable", "its name is not valid UTF-8; rename it")
            elif is_raw(name):
                raw.append(name)
            else:
                self.names.append(name)
        return self._sort_in_raw(raw)

    def _sort_in_raw(self, raw: Iterable[str]) -> "Listing":
        """Ignore raw files that lie beside the picture that the camera made from them, and reject the others."""
        pictures = {os.path.splitext(name)[0].lower() for name in self.names}
        for name in raw:
            if os.path.splitext(name)[0].lower() in pictures:
                self.ignored[name] = "a raw file beside the picture that the camera made from it"
            else:
                self.rejects[name] = RejectedError("raw file", "export it as JPEG or PNG with the camera's software")
        return self


def list_images(path: Path, key: str = "ingest.source.path", advice: str = _ADVICE) -> Listing:
    """List a directory or a ZIP archive.

    Args:
        path: Path of the directory or archive.
        key: Option or key that names the path, for messages.
        advice: Sentence that tells the user what to name, for messages.

    Raises:
        MissingSourceError: The path does not exist.
        ConfigError: The path cannot be read, or is neither a directory nor an archive.
    """
    key = f"{key}: {shown(str(path), 200)}"
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise MissingSourceError(f"{key} does not exist. {advice}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{key} cannot be read ({getattr(error, 'strerror', None) or error}). {advice}") from error
    if stat.S_ISDIR(mode):
        listing = Listing(functools.partial(read_file, path)).sort_in(_walk(path))
        listing.warnings += _about_links(listing.ignored)
        return listing
    if not stat.S_ISREG(mode):
        raise ConfigError(f"{key} is neither a directory nor a file, but {_kind(mode)}. {advice}")
    return _list_archive(path, key)


def _about_links(ignored: Mapping[str, str]) -> list[str]:
    links = [name for name, reason in ignored.items() if reason == _ALREADY_LISTED]
    if not links:
        return []
    return [
        f"{counted(len(links), 'link leads to a folder that is', 'links lead to folders that are')} listed under "
        f"another name, such as {shown(links[0], 100)}: see data/ingested/ignored.csv."
    ]


def _list_archive(path: Path, key: str) -> Listing:
    try:
        found = members(path)
    except NotAnArchiveError as error:
        raise ConfigError(
            f"{key} is neither a directory nor a complete .zip ({error}). If it is a .zip, copy it or create it again."
        ) from error
    listing = Listing(functools.partial(read_member, path)).sort_in((item.name, item.rejection) for item in found)
    guessed = [item.name for item in found if item.guessed]
    if guessed:
        listing.warnings.append(
            f"{shown(str(path), 200)}: {counted(len(guessed), 'name is', 'names are')} not UTF-8 and read as code page "
            f"437, such as {shown(guessed[0], 100)}. If names look wrong, create the archive with another program."
        )
    return listing


def _walk(root: Path) -> Iterator[ListedName]:
    """List a directory and everything below it, including through links.

    Folders come before links to folders, and links are followed in the order of their depth, then of their names. The
    path under which a folder is listed therefore depends on the names alone.
    """
    entered: set[str] = set()
    todo = deque([(str(root), os.path.realpath(root), "")])
    while todo:
        folders, links = [todo.popleft()], []
        while folders:
            place, real, prefix = folders.pop()
            if real in entered:
                yield prefix.rstrip("/"), _ALREADY_LISTED
                continue
            entered.add(real)
            try:
                entries = list(os.scandir(place))
            except OSError as error:
                yield prefix.rstrip("/"), RejectedError("unreadable", error.strerror or str(error))
                continue
            for entry in entries:
                name = prefix + entry.name
                try:
                    if not entry.is_dir():
                        yield name, None if entry.is_file() else RejectedError("unreadable", _no_file(entry))
                    elif not entry.is_symlink():
                        folders.append((entry.path, os.path.join(real, entry.name), name + "/"))
                    elif _above(target := os.path.realpath(entry.path), real):
                        yield name, RejectedError("unreadable", "a link to a folder that contains it")
                    else:
                        links.append((entry.path, target, name + "/"))
                except OSError as error:
                    yield name, RejectedError("unreadable", error.strerror or str(error))
        todo.extend(sorted(links, key=lambda link: (link[2].count("/"), link[2])))


def _above(folder: str, place: str) -> bool:
    return folder == place or place.startswith(folder.rstrip(os.sep) + os.sep)


def _no_file(entry: os.DirEntry[str]) -> str:
    try:
        return _kind(entry.stat().st_mode)
    except FileNotFoundError:
        return "a broken link"


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}
    return kinds.get(stat.S_IFMT(mode), "not a regular file")


def read_file(root: Path, name: str, limit: int) -> bytes:
    """Read a file in a folder, up to `limit` bytes.

    The file is opened without blocking: it may have become a pipe since it was listed, and must not wait for a writer.

    Raises:
        RejectedError: The file cannot be read, or is larger.
    """
    try:
        opened = os.open(root / name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(opened, "rb") as file:
            status = os.fstat(opened)
            if not stat.S_ISREG(status.st_mode):
                raise RejectedError("unreadable", _kind(status.st_mode))
            check_bytes(status.st_size, limit)
            content = file.read(limit + 1)
    except OSError as error:
        raise RejectedError("unreadable", error.strerror or str(error)) from error
    check_bytes(len(content), limit)
    return content
