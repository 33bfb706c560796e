"""Products: written whole, so that a reader never sees half a file, and read only if they are what was written.

A stage that makes a file for a later one notes its digest in `digests.json` beside it (`record`); the later one opens
the file through `verified`. A flipped bit, a lost end, a file of another run: each is told, and none is used.
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ssl_pipeline.disk import disk_trouble_is_told
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.guard import end_if_orphaned
from ssl_pipeline.remedies import make, remake

__all__ = [
    "DIGESTS",
    "atomic_file",
    "atomic_folder",
    "atomic_folders",
    "digest",
    "read_json",
    "read_product",
    "record",
    "remove_leftovers",
    "require",
    "sha256",
    "sha256_once",
    "verified",
    "write_json",
    "write_product",
]

DIGESTS = "digests.json"
"""Name -> SHA-256 of the files of its folder that later stages read."""


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds, remove it when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with disk_trouble_is_told(path):
            yield temporary
            temporary.chmod(0o644)  # some libraries write for the owner only
            with temporary.open("rb") as file:  # a rename must not overtake the bytes
                os.fsync(file.fileno())
            end_if_orphaned()
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; put it in place of `path` when the block succeeds."""
    with atomic_folders(path) as (folder,):
        yield folder


@contextlib.contextmanager
def atomic_folders(*paths: Path) -> Iterator[list[Path]]:
    """Yield an empty temporary folder beside each path; put all in their places when the block succeeds, or none.

    A process that is killed between two renames leaves the first folders new and the others old, or without one: name
    first what later stages read, so that no report is newer than what it tells of.
    """
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(_temporary_folder(path)) for path in paths]
        with disk_trouble_is_told(paths[0]):
            yield folders
            end_if_orphaned()
            _put_in_place(dict(zip(folders, paths, strict=True)))


@contextlib.contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    made = [folder for folder in path.parents if not folder.exists()]  # the innermost first
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    temporary.chmod(0o755)  # mkdtemp's 0700 would stay with the product
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):  # a product is in it, which is as it should be
                folder.rmdir()


def _put_in_place(places: dict[Path, Path]) -> None:
    """Rename folders to paths that may be there; what was there is deleted only when all new ones are in place.

    A process that dies between the two renames of a folder leaves nothing at its path, and both folders among the
    leftovers: a later run finds no product, and makes it again, or `dvc checkout` brings the old one back.
    """
    replaced = []
    with contextlib.ExitStack() as undo:
        for new, path in places.items():
            if os.path.lexists(path):
                old = new.with_name(f"{new.name}.old.tmp")
                path.rename(old)
                undo.callback(old.rename, path)
                replaced.append(old)
            new.rename(path)
            undo.callback(path.rename, new)
        undo.pop_all()  # all are in place: nothing is to be undone
    for old in replaced:
        with contextlib.suppress(OSError):  # what cannot be deleted now is a leftover, and the next run's to remove
            _remove(old)


def _remove(path: Path) -> None:
    """Delete a file, a folder with all that is in it, or a link to one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def remove_leftovers(folders: Iterable[Path], files: Iterable[Path] = ()) -> None:
    """Remove the temporary files and folders that killed processes left; call it where no other process writes.

    Args:
        folders: Folders in which nothing but products lies.
        files: Products that lie beside what is not ours to remove.
    """
    leftovers = [path for folder in folders for path in folder.glob(".*.*.tmp")]
    for leftover in (*leftovers, *(path for file in files for path in file.parent.glob(f".{file.name}.*.tmp"))):
        _remove(leftover)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON with a final newline, whole or not at all. NaN is refused: it is not JSON."""
    with atomic_file(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def require(path: Path, stage: str) -> Path:
    """Return `path`, or say which stage makes it when it is not there."""
    if not path.exists():
        raise PipelineError(f"{path} does not exist: {make(stage)}.")
    return path


def read_json(path: Path, stage: str) -> Any:
    """Read a JSON file that `stage` made.

    Raises:
        PipelineError: The file is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(require(path, stage).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:  # of UTF-8 and of JSON: both are ValueErrors
        raise PipelineError(f"{path} is damaged ({error}): {remake(stage)}.") from error


def record(path: Path, found: str = "") -> None:
    """Note the digest of a file for `verified`; call this again after the file was changed on purpose.

    Args:
        path: The file.
        found: The SHA-256 of its bytes, in hex, where whoever wrote it has found it; else the file is read.
    """
    digests = path.with_name(DIGESTS)
    try:
        known = json.loads(digests.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):  # damaged: files whose digests are lost are not used
        known = {}
    if not isinstance(known, dict) or not all(isinstance(value, str) for value in known.values()):
        known = {}
    write_json(digests, dict(sorted({**known, path.name: found or sha256(path)}.items())))


def verified(path: Path, stage: str) -> Path:
    """Return the path of a file, which must be the one that `stage` wrote; a file is read once per process for that.

    Raises:
        PipelineError: The file or its digest is missing, or the file is another one.
    """
    known = read_json(require(path, stage).with_name(DIGESTS), stage)
    try:
        found = sha256_once(path)
    except OSError as error:
        raise PipelineError(f"{path} cannot be read ({error}): {remake(stage)}.") from error
    if not isinstance(known, dict) or known.get(path.name) != found:
        raise PipelineError(
            f"{path} is damaged (it is not what the stage '{stage}' wrote: {DIGESTS} beside it has another digest): "
            f"{remake(stage)}."
        )
    return path


def sha256_once(path: Path) -> str:
    """Return a file's SHA-256 in hex; it is read once per process for each state (inode, size, time of change)."""
    state = path.stat()
    return _sha256_of(path.resolve(), state.st_ino, state.st_size, state.st_mtime_ns)


@functools.cache
def _sha256_of(path: Path, *state: int) -> str:
    return sha256(path)


def write_product(path: Path, content: Any) -> None:
    """Write JSON for a later stage, with its digest."""
    write_json(path, content)
    record(path)


def read_product(path: Path, stage: str) -> Any:
    """Read what `write_product` wrote.

    Raises:
        PipelineError: The file is missing, or is not what `stage` wrote.
    """
    return read_json(verified(path, stage), stage)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Any) -> str:
    """Return the SHA-256 of a JSON-able value, in hex; the order of mappings' keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
