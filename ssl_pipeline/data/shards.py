"""Files in .tar shards, as WebDataset writes them: where each lies, and how one is read. Nothing is unpacked."""

import functools
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ssl_pipeline.data.archive import check_bytes, untrusted
from ssl_pipeline.data.remarks import RejectedError

__all__ = ["Listed", "Place", "list_shard", "read_place", "read_shard_file"]

_BLOCK = 512
_OPEN_SHARDS = 4  # whose directories a process remembers: it reads one shard after the other


class Place(NamedTuple):
    """Where the bytes of a file lie in its shard."""

    start: int
    size: int


class Listed(NamedTuple):
    """What lies in a shard.

    Attributes:
        places: Name -> where its bytes lie, in the order of the shard.
        rejects: Name -> why the file cannot be used; "" -> why the rest of the shard cannot be read.
    """

    places: dict[str, Place]
    rejects: dict[str, RejectedError]


def list_shard(path: Path) -> Listed:
    """List the files in a shard; what is damaged ends the list, and is one of the rejects."""
    listed = Listed({}, {})
    try:
        with tarfile.open(path, "r:") as shard:
            for info in _headers(shard):
                _sort_in(listed, info)
            _check_end(path, shard.offset)
    except RejectedError as error:
        listed.rejects[""] = error
    except Exception as error:  # tarfile may raise anything at damaged headers: ReadError, ValueError, RecursionError
        reason = str(error) or type(error).__name__
        what = "it is compressed: decompress it to a .tar" if _is_compressed(path) else f"no whole .tar ({reason})"
        listed.rejects[""] = RejectedError("unreadable", what)
    return listed


def read_shard_file(root: Path, name: str, limit: int) -> bytes:
    """Read a file of a shard, of at most `limit` bytes.

    Args:
        root: The folder of the shards.
        name: The path of the shard, "/", and the name of the file in it.
        limit: The most bytes that it may have.

    Raises:
        RejectedError: It is larger, or the shard has changed.
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
    """Read the bytes at a place in a shard, at most `limit` of them.

    Raises:
        RejectedError: There are more, or the shard ends within them.
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
    del state  # a shard that was written anew is another one
    return list_shard(path).places


def _headers(shard: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the headers of a shard, each of which must lie behind the last one: a negative size would lead back."""
    last = -1
    while (info := shard.next()) is not None:
        shard.members.clear()  # type: ignore[attr-defined]  # which would be kept for ever
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
        reason = "no regular file in the shard"
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
    """Refuse the rest of a shard that does not end as one does: tarfile takes a damaged header for the end.

    Raises:
        RejectedError: There is something else than zeros.
    """
    with path.open("rb") as file:
        file.seek(offset)
        block = file.read(_BLOCK)
    if block.strip(b"\0"):
        raise RejectedError("unreadable", f"a damaged .tar: nothing can be read from byte {offset:,} on")


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(6).startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd"))
