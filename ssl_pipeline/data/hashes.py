"""SHA-256 of many files, remembered from one run to the next for as long as a file looks untouched."""

import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from ssl_pipeline.products import sha256
from ssl_pipeline.progress import track

__all__ = ["Hashed", "hash_files"]

_HASHING_THREADS = 8  # hashing leaves Python's lock alone, and a disk on the network answers many at a time
_FILES_PER_COMMIT = 500  # files between commits: a first run that is killed goes on from there
_MIN_AGE_NS = 2e9  # ns; a file may be changed again within a tick of its clock, 2 s on FAT, and look the same
_MAX_WAIT_SECONDS = 10.0  # seconds for another run that is writing
_DAMAGE_CODES = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_CREATE_TABLE = """CREATE TABLE IF NOT EXISTS hashes
    (root BLOB, name TEXT, stamp TEXT, sha256 TEXT, PRIMARY KEY (root, name)) WITHOUT ROWID"""


class Hashed(NamedTuple):
    """A file's size in bytes and SHA-256 in hex; or why it cannot be read, and neither."""

    size: int = 0
    sha256: str = ""
    trouble: str = ""


def hash_files(root: Path, names: Sequence[str], cache: Path) -> dict[str, Hashed]:
    """Hash files, each of which is read only if its size, time of change or inode differ from when it was last hashed.

    Args:
        root: The folder that names are relative to.
        names: Names of the files.
        cache: An SQLite file; made if need be, and anew if it is damaged. Nothing is remembered where it
            cannot be used.

    Returns:
        What was found of each name.
    """
    key = os.fsencode(root.absolute())
    database, known = _open(cache, key)
    with closing(database):
        found: dict[str, Hashed] = {}
        changed = []
        folder = os.path.join(root, "")
        for name in names:  # 100,000 times: no Path, and one look at each file
            try:
                status = os.stat(folder + name)
            except OSError as error:
                found[name] = Hashed(trouble=error.strerror or str(error))
                continue
            stamp, digest = known.get(name, ("", ""))
            if stamp == f"{status.st_size} {status.st_mtime_ns} {status.st_ino}":
                found[name] = Hashed(status.st_size, digest)
            else:
                changed.append(name)
        for batch in _batches(root, changed):
            found.update((name, hashed) for name, hashed, _ in batch)
            rows = [(key, name, stamp, hashed.sha256) for name, hashed, stamp in batch if stamp]
            _write(database, "INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", rows)
        gone = known.keys() - found.keys()
        _write(database, "DELETE FROM hashes WHERE root = ? AND name = ?", [(key, name) for name in gone])
    return {name: found[name] for name in names}


def _batches(root: Path, names: Sequence[str]) -> Iterator[list[tuple[str, Hashed, str]]]:
    """Hash files some at a time: name, what was found, and the stamp to remember it by, "" for not at all."""
    threads = ThreadPoolExecutor(_HASHING_THREADS)
    try:
        for start in track(
            range(0, len(names), _FILES_PER_COMMIT), "hashing files", total=-(-len(names) // _FILES_PER_COMMIT)
        ):
            yield list(threads.map(lambda name: (name, *_hash(root / name)), names[start : start + _FILES_PER_COMMIT]))
    finally:
        threads.shutdown(cancel_futures=True)


def _hash(path: Path) -> tuple[Hashed, str]:
    try:
        now, status = time.time_ns(), path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its other end
            return Hashed(trouble="not a regular file"), ""
        hashed = Hashed(status.st_size, sha256(path))
    except OSError as error:
        return Hashed(trouble=error.strerror or str(error)), ""
    settled = abs(now - status.st_mtime_ns) > _MIN_AGE_NS
    return hashed, f"{status.st_size} {status.st_mtime_ns} {status.st_ino}" if settled else ""


def _open(cache: Path, key: bytes) -> tuple[sqlite3.Connection, dict[str, tuple[str, str]]]:
    """Return the database, and what it remembers of a folder: name -> stamp and SHA-256.

    It holds nothing that cannot be found out again, so that no trouble with it may stop a run.
    """
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        return _read(cache, key)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode in _DAMAGE_CODES:
            with suppress(OSError, sqlite3.Error):
                for path in (cache, cache.with_name(cache.name + "-journal")):
                    path.unlink(missing_ok=True)
                return _read(cache, key)
    except OSError:  # a full or closed disk, as it may be for SQLite, too
        pass
    return _read(":memory:", key)


def _read(cache: Path | str, key: bytes) -> tuple[sqlite3.Connection, dict[str, tuple[str, str]]]:
    database = sqlite3.connect(cache, timeout=_MAX_WAIT_SECONDS)
    try:
        database.execute(_CREATE_TABLE)
        rows = database.execute("SELECT name, stamp, sha256 FROM hashes WHERE root = ?", (key,))
        return database, {name: (stamp, digest) for name, stamp, digest in rows}
    except sqlite3.Error:
        database.close()
        raise


def _write(database: sqlite3.Connection, statement: str, rows: Sequence[tuple[bytes | str, ...]]) -> None:
    if rows:
        with suppress(sqlite3.Error), database:  # a full disk: what is not remembered is hashed again
            database.executemany(statement, rows)
