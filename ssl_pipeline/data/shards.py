"""List and read the files in .tar shards, as WebDataset writes them, without unpacking anything."""

import functools
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ssl_pipeline.data.archive import check_bytes, untrusted
from ssl_pipeline.data.remarks import RejectedError

__all__ = ["Listed", "Place", "list_shard", "read_place", "read_shard_file"]

_BLOCK = 512
_OPEN_SHARDS = 4  # shards whose directories a process caches; it reads one shard after the other


class Place(NamedTuple):
    """Position and size of a file in its shard, in bytes."""

    start: int
    size: int


class Listed(NamedTuple):
    """Files in a shard.

    Attributes:
        places: Position of each file, by name, in the order of the shard.
        rejects: Reason why a file cannot be used, by name; under "", the reason why the rest of the shard cannot be
            read.
    """

    places: dict[str, Place]
    rejects: dict[str, RejectedError]


def list_shard(path: Path) -> Listed:
    """List the files in a shard; damage ends the list and is recorded among the rejects."""
    listed = Listed({}, {})
    try:
        with tarfile.open(path, "r:") as shard:
            for info in _headers(shard):
                _sort_in(listed, info)
            _check_end(path, shard.offset)
    except RejectedError as error:
        listed.rejects[""] = error
    except Exception as error:  # tarfile may raise anything on damaged headers: ReadError, ValueError, RecursionError
        reason = str(error) or type(error).__name__
        what = "it is compressed: decompress it to a .tar" if _is_compressed(path) else f"an incomplete .tar ({reason})"
        listed.rejects[""] = RejectedError("unreadable", what)
    return listed


def read_shard_file(root: Path, name: str, limit: int) -> bytes:
    """Read a file in a shard, up to `limit` bytes.

    Args:
        root: Folder of the shards.
        name: Path of the shard, "/", and the name of the file in it.
        limit: Largest size of the file, in bytes.

    Raises:
        RejectedError: The file is larger, the shard cannot be read, or it has changed.
    """
    shard, _, member = name.partition(".tar/")
    path = root / f"{shard}.tar"
    try:
        state = path.stat()
        place = _directory(path, state.st_size, state.st_mtime_ns).get(member)
    except OSError as error:
        raise RejectedError("unreadable", error.strerror or str(error)) from error
    if place is None:
        raise RejectedError("unreadable", "the shard changed while it was read")
    return read_place(path, place, limit)


def read_place(path: Path, place: Place, limit: int) -> bytes:
    """Read the file at a position in a shard, up to `limit` bytes.

    Raises:
        RejectedError: The file is larger, cannot be read, or is cut off by the end of the shard.
    """
    check_bytes(place.size, limit)
    try:
        with path.open("rb") as file:
            file.seek(place.start)
            content = file.read(place.size)
    except OSError as error:
        raise RejectedError("unreadable", error.strerror or str(error)) from error
    if len(content) < place.size:
        raise RejectedError("unreadable", "the shard ends within it")
    return content


@functools.lru_cache(maxsize=_OPEN_SHARDS)
def _directory(path: Path, *state: int) -> dict[str, Place]:
    del state  # part of the cache's key only, so that a shard that was rewritten is listed again
    return list_shard(path).places


def _headers(shard: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of a shard, each of which must lie after the previous one: a negative size would lead back."""
    last = -1
    while (info := shard.next()) is not None:
        shard.members.clear()  # type: ignore[attr-defined]  # tarfile would keep them forever
        if info.size < 0 or shard.offset <= last:
            raise RejectedError("unreadable", "a damaged .tar: a file in it has a negative size")
        last = shard.offset
        yield info


def _sort_in(listed: Listed, info: tarfile.TarInfo) -> None:
    name = info.name.removeprefix("./")
    if info.isdir():
        return
    reason = untrusted(name)
    if not info.isreg() or info.issparse():
        reason = "not a regular file in the shard"
    elif name.encode("utf-8", "surrogateescape") != name.encode("utf-8", "replace"):
        reason = "its name is not valid UTF-8; rename it"
    elif name in listed.places:
        name, reason = f"{name} (2)", "the shard contains another file with this name"
    if reason:
        shown = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        listed.rejects[shown or "(no name)"] = RejectedError("unreadable", reason)
    else:
        listed.places[name] = Place(info.offset_data, info.size)


def _check_end(path: Path, offset: int) -> None:
    """Refuse a shard that does not end with zeros, because tarfile takes a damaged header for the end.

    Raises:
        RejectedError: The block at the offset contains anything but zeros.
    """
    with path.open("rb") as file:
        file.seek(offset)
        block = file.read(_BLOCK)
    if block.strip(b"\0"):
        raise RejectedError("unreadable", f"a damaged .tar: nothing after byte {offset:,} can be read")


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
