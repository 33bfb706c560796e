"""Writing products whole: a temporary name beside the target, then a rename. A reader never sees half a file."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ssl_pipeline.errors import PipelineError

__all__ = ["atomic_file", "atomic_folder", "digest", "read_json", "require", "sha256", "write_json"]


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block succeeds, remove it when it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
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
