"""SHA-256 of many files, cached between runs for as long as a file looks untouched."""

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

_HASHING_THREADS = 8  # hashing releases Python's lock, and a network disk serves many requests at a time
_FILES_PER_COMMIT = 500  # files between commits, so that a first run that is killed resumes from the last one
_MIN_AGE_NS = 2e9  # ns; a file may change again within a tick of the file system's clock (2 s on FAT) unnoticed
_MAX_WAIT_SECONDS = 10.0  # seconds to wait for another run that is writing
_DAMAGE_CODES = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_CREATE_TABLE = """CREATE TABLE IF NOT EXISTS hashes
    (root BLOB, name TEXT, stamp TEXT, sha256 TEXT, PRIMARY KEY (root, name)) WITHOUT ROWID"""


class Hashed(NamedTuple):
    """Result of hashing a file.

    Attributes:
        size: Size of the file in bytes; 0 if it cannot be read.
        sha256: SHA-256 of the file in hex; "" if it cannot be read.
        trouble: Reason why the file cannot be read; "" if it can.
    """

    size: int = 0
    sha256: str = ""
    trouble: str = ""


def hash_files(root: Path, names: Sequence[str], cache: Path) -> dict[str, Hashed]:
    """Hash files, reading only those whose size, modification time or inode differ from when they were last hashed.

    Args:
        root: Folder that the names are relative to.
        names: Names of the files.
        cache: SQLite file, created if it is missing and recreated if it is damaged. If it cannot be used, all files are
            hashed and nothing is cached.

    Returns:
        The result for each name.
    """
    key = os.fsencode(root.absolute())
    database, known = _open(cache, key)
    with closing(database):
        found: dict[str, Hashed] = {}
        changed = []
        folder = os.path.join(root, "")
        for name in names:  # may run 100,000 times: no Path objects, and one stat per file
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
    """Hash files in batches, and yield the name, the result, and the stamp to cache it by ("" to not cache it)."""
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
    """Return the database, and the stamp and SHA-256 that it holds for each name in a folder.

    Everything in the database can be computed again, so trouble with it must not stop a run.
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
    except OSError:  # a full or read-only disk, which SQLite may report as well
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
        with suppress(sqlite3.Error), database:  # on a full disk, what is not cached is hashed again
            database.executemany(statement, rows)
