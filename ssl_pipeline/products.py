"""Writing products whole: a temporary name beside the target, then a rename. A reader never sees half a file."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssl_pipeline.errors import PipelineError

__all__ = [
    "atomic_file",
    "atomic_folder",
    "digest",
    "disk_trouble",
    "disk_trouble_is_told",
    "read_json",
    "require",
    "sha256",
    "write_json",
]

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM}
_NOTHING_LEFT = 2**16  # bytes; a disk with less is full


def disk_trouble(error: OSError, path: Path | None = None) -> PipelineError | None:
    """What to tell the user of a disk that is full or may not be written to; None where an error is of another kind.

    Some libraries report a write that failed without its cause. While the unfinished file is still there, the space
    that is left on its disk tells.

    Args:
        error: What was raised.
        path: The product that was being written, where that is known.
    """
    if error.errno in _CLOSED:
        where = error.filename or path or "A file in the folder of params.yaml"
        return PipelineError(
            f"{where} cannot be read or written ({error.strerror}): give this user access to it, or work in another "
            "folder, then run this again. Nothing was half-written."
        )
    unexplained = error.errno is None and path is not None and _free(path.parent) < _NOTHING_LEFT
    if error.errno in _FULL or unexplained:
        where = path or error.filename or "A product"
        return PipelineError(
            f"{where} could not be written, because the disk is full ({error.strerror or error}): make room, then run "
            "this again. Nothing was half-written, and what was finished before is kept."
        )
    return None


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


@contextlib.contextmanager
def disk_trouble_is_told(path: Path) -> Iterator[None]:
    """Turn what a full or closed disk raises into a `PipelineError`; `path` is the product that is being written."""
    try:
        yield
    except OSError as error:
        trouble = disk_trouble(error, path)
        if trouble is None:
            raise
        raise trouble from error


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
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside `path`; put it in place of `path` when the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    temporary.chmod(0o755)  # mkdtemp's 0700 would stay with the product
    try:
        with disk_trouble_is_told(path):
            yield temporary
            shutil.rmtree(path, ignore_errors=True)
            temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON with a final newline, whole or not at all. NaN is refused: it is not JSON."""
    with atomic_file(path) as temporary:
        temporary.write_text(
            json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
        )


def require(path: Path, stage: str) -> Path:
    """Return `path`, or say which stage makes it when it is not there."""
    if not path.exists():
        raise PipelineError(f"{path} does not exist: the stage '{stage}' makes it. Run `dvc repro {stage}` first.")
    return path


def read_json(path: Path, stage: str) -> Any:
    """Read a JSON product of `stage`.

    Raises:
        PipelineError: The file is missing or is not JSON.
    """
    try:
        return json.loads(require(path, stage).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise PipelineError(f"{path} is damaged ({error}): run `dvc repro --force {stage}`.") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(content: Any) -> str:
    """SHA-256 of a JSON-able value, in hex; the order of mappings' keys does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
