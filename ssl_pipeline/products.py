"""Products: written whole, so that no reader sees half a file, and read only if they are unchanged.

A stage that writes a file for a later one records its digest in `digests.json` beside it (`record`); the later stage
opens the file through `verified`. A flipped bit, a truncated file or a file of another run is reported, and never used.
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
"""File in each folder that maps the names of its files that later stages read to their SHA-256."""


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
    """Yield an empty temporary folder beside each path; put all of them, or none, in place when the block succeeds.

    If the process is killed between two renames, the first folders are new and the others are old or missing. Therefore
    name first the folder that later stages read, so that no report is newer than the product it describes.
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
            with contextlib.suppress(OSError):  # not empty: it contains a product, as it should
                folder.rmdir()


def _put_in_place(places: dict[Path, Path]) -> None:
    """Rename folders to paths that may exist; old folders are deleted only when all new ones are in place.

    If the process dies between the two renames of a folder, nothing is left at its path, and both folders are among the
    leftovers. A later run then finds no product and makes it again, or `dvc checkout` restores the old one.
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
        undo.pop_all()  # all are in place: undo nothing
    for old in replaced:
        with contextlib.suppress(OSError):  # if it cannot be deleted now, the next run removes it as a leftover
            _remove(old)


def _remove(path: Path) -> None:
    """Delete a file, a folder with its contents, or a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def remove_leftovers(folders: Iterable[Path], files: Iterable[Path] = ()) -> None:
    """Remove temporary files and folders that killed processes left; call this only while no other process writes.

    Args:
        folders: Folders that contain nothing but products.
        files: Products in folders that also contain other files.
    """
    leftovers = [path for folder in folders for path in folder.glob(".*.*.tmp")]
    for leftover in (*leftovers, *(path for file in files for path in file.parent.glob(f".{file.name}.*.tmp"))):
        _remove(leftover)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON with a final newline, whole or not at all. NaN is refused, because it is not JSON."""
    with atomic_file(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def require(path: Path, stage: str) -> Path:
    """Return `path` if it exists.

    Raises:
        PipelineError: The path does not exist; the message names the stage that makes it.
    """
    if not path.exists():
        raise PipelineError(f"{path} does not exist: {make(stage)}.")
    return path


def read_json(path: Path, stage: str) -> Any:
    """Read a JSON file that `stage` made.

    Raises:
        PipelineError: The file is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(require(path, stage).read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:  # errors of UTF-8 and of JSON are ValueErrors
        raise PipelineError(f"{path} is damaged ({error}): {remake(stage)}.") from error


def record(path: Path, found: str = "") -> None:
    """Record the digest of a file for `verified`; call this again after changing the file on purpose.

    Args:
        path: Path of the file.
        found: SHA-256 of the file's bytes, in hex, if the caller has computed it; "" to read the file.
    """
    digests = path.with_name(DIGESTS)
    try:
        known = json.loads(digests.read_bytes())
    except (
        FileNotFoundError,
        ValueError,
        RecursionError,
    ):  # if damaged, files whose digests are lost are refused later
        known = {}
    if not isinstance(known, dict) or not all(isinstance(value, str) for value in known.values()):
        known = {}
    write_json(digests, dict(sorted({**known, path.name: found or sha256(path)}.items())))


def verified(path: Path, stage: str) -> Path:
    """Return the path of a file after checking that `stage` wrote it; a file is read once per process.

    Raises:
        PipelineError: The file or its digest is missing, or the digest differs.
    """
    known = read_json(require(path, stage).with_name(DIGESTS), stage)
    try:
        found = sha256_once(path)
    except OSError as error:
        raise PipelineError(f"{path} cannot be read ({error}): {remake(stage)}.") from error
    if not isinstance(known, dict) or known.get(path.name) != found:
        raise PipelineError(
            f"{path} is damaged (its digest differs from the one that the stage '{stage}' recorded in "
            f"{DIGESTS}): {remake(stage)}."
        )
    return path


def sha256_once(path: Path) -> str:
    """Return a file's SHA-256 in hex; each state (inode, size, modification time) is read once per process."""
    state = path.stat()
    return _sha256_of(path.resolve(), state.st_ino, state.st_size, state.st_mtime_ns)


@functools.cache
def _sha256_of(path: Path, *state: int) -> str:
    return sha256(path)


def write_product(path: Path, content: Any) -> None:
    """Write JSON for a later stage, and record its digest."""
    write_json(path, content)
    record(path)


def read_product(path: Path, stage: str) -> Any:
    """Read JSON that `write_product` wrote.

    Raises:
        PipelineError: The file is missing, damaged, or not the one that `stage` wrote.
    """
    return read_json(verified(path, stage), stage)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Any) -> str:
    """Return the SHA-256 of a value that JSON can represent, in hex; the order of keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
