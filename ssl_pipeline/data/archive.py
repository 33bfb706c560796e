"""List and read the members of a ZIP archive of images, without unpacking anything to disk."""

import functools
import stat
import struct
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from ssl_pipeline.data.remarks import RejectedError

__all__ = ["Member", "NotAnArchiveError", "check_bytes", "members", "read_member", "untrusted"]

_UTF8_NAME_FLAG = 0x800
_UNICODE_PATH_FIELD = 0x7075


class NotAnArchiveError(Exception):
    """A file that is not a ZIP archive, or one whose directory is damaged."""


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        name: Path of the file inside the archive.
        info: Entry of the file in the archive's directory.
        rejection: Reason why the file cannot be used, if the directory reveals one.
        guessed: Whether the encoding of the name is unknown, so that the name is a guess.
    """

    name: str
    info: zipfile.ZipInfo
    rejection: RejectedError | None
    guessed: bool


def members(path: Path) -> list[Member]:
    """List the files in an archive, in the order of its directory.

    Raises:
        NotAnArchiveError: The directory of the archive cannot be read.
    """
    seen: set[str] = set()
    found = []
    for info in _open(path).infolist():
        name, guessed = _name(info)
        if name.endswith("/"):
            continue
        reason = "the archive contains another file with this name" if name in seen else untrusted(name)
        if reason is None and stat.S_ISLNK(info.external_attr >> 16):
            reason = "a link inside an archive"
        seen.add(name)
        found.append(Member(name, info, RejectedError("unreadable", reason) if reason else None, guessed))
    return found


def read_member(path: Path, name: str, limit: int) -> bytes:
    """Read one file of an archive, up to `limit` bytes.

    Raises:
        RejectedError: The file is larger, damaged, encrypted, or compressed by an unknown method.
    """
    try:
        info = _directory(path).get(name)
        if info is None:
            raise RejectedError("unreadable", "the archive changed while it was read")
        check_bytes(info.file_size, limit)
        return _open(path).read(info)
    except RejectedError:
        raise
    except Exception as error:  # zipfile may raise anything on damaged bytes: struct.error, UnicodeDecodeError ...
        raise RejectedError("unreadable", f"in the archive: {str(error) or type(error).__name__}") from error


def check_bytes(size: int, limit: int) -> None:
    """Refuse a file that is too large, before it is read.

    Args:
        size: Size of the file in bytes.
        limit: Largest size that is accepted, in bytes.

    Raises:
        RejectedError: The size is above the limit.
    """
    if size > limit:
        raise RejectedError("too large", f"a file of {size / 1e6:.0f} MB; the limit is {limit / 1e6:.0f} MB")


@functools.lru_cache(maxsize=1)
def _open(path: Path) -> zipfile.ZipFile:
    """Open an archive once per process, because its directory may have a million entries."""
    try:
        return zipfile.ZipFile(path)
    except Exception as error:  # as above; directories raise NotImplementedError, UnicodeDecodeError, OverflowError ...
        raise NotAnArchiveError(str(error) or type(error).__name__) from error


@functools.lru_cache(maxsize=1)
def _directory(path: Path) -> dict[str, zipfile.ZipInfo]:
    return {member.name: member.info for member in members(path) if member.rejection is None}


def _name(info: zipfile.ZipInfo) -> tuple[str, bool]:
    """Return a member's name, and whether its encoding is a guess.

    Most programs write UTF-8, and many of them do not set the flag for it. zipfile reads such a name as code page 437,
    which has a character for every byte, so the original bytes can be restored.
    """
    name, guessed = info.orig_filename, False
    if not info.flag_bits & _UTF8_NAME_FLAG:
        raw = name.encode("cp437")
        try:
            name = _unicode_path(info.extra, raw) or raw.decode("utf-8")
        except UnicodeDecodeError:
            guessed = True
    parts = [part for part in name.split("/") if part != "."]
    return "/".join(part for number, part in enumerate(parts) if part or number in (0, len(parts) - 1)), guessed


def _unicode_path(extra: bytes, raw: bytes) -> str | None:
    """Return the name in Info-ZIP's Unicode path field (APPNOTE 4.6.9) if its checksum matches the directory's name."""
    while len(extra) >= 4:
        kind, length = struct.unpack("<HH", extra[:4])
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH_FIELD and len(field) > 5 and struct.unpack("<BI", field[:5]) == (1, zlib.crc32(raw)):
            return field[5:].decode("utf-8")
    return None


def untrusted(name: str) -> str | None:
    """Return why the name of a file in an archive forbids reading it, whatever the file contains, or None."""
    if not name:
        return "it has no name"
    if "\0" in name:
        return "its name contains a zero byte"
    if "\\" in name:
        return "its path contains backslashes; create the archive with another program"
    if name.startswith("/") or ".." in name.split("/"):
        return "its path leads out of the archive"
    return None
