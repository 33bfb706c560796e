"""Checkpoints: read only by the run that wrote them, written atomically, and verified when they are read."""

import hashlib
import itertools
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from ssl_pipeline.disk import disk_trouble_is_told
from ssl_pipeline.guard import LOCK_PATIENCE_SECONDS, hold
from ssl_pipeline.progress import say
from ssl_pipeline.training.endings import DivergedError
from ssl_pipeline.training.precision import Precision

__all__ = ["Checkpoints", "environment", "newest_first", "read_state"]

State = dict[str, Any]

_FILE_HEAD = b"ssl-pipeline checkpoint 3\n"  # 3: no object holds the progress; 2: warnings have kinds
_DIGEST_SIZE = hashlib.sha256().digest_size


class Checkpoints:
    """The checkpoints of one run, in a separate folder.

    The copies of the project that DVC makes for its queue share the work folder, so a run that was killed in one copy
    can resume in another. If two equal runs train at the same time, each has its own folder.

    Args:
        work: The folder of all unfinished runs.
        fingerprint: The digest of everything that determines the run. A run with another digest uses another folder.
        surroundings: The environment that results also depend on, as `environment` returns it. A change is reported,
            not refused.
    """

    def __init__(self, work: Path, fingerprint: str, surroundings: Mapping[str, str]):
        self.folder = work / fingerprint[:16]
        self._fingerprint = fingerprint
        self._surroundings = dict(surroundings)

    @property
    def path(self) -> Path:
        """The newest checkpoint."""
        return self.folder / "checkpoint.pt"

    @property
    def previous(self) -> Path:
        """The checkpoint before the newest one."""
        return self.folder / "checkpoint.previous.pt"

    def save(self, state: State) -> None:
        """Write a checkpoint; the previous one is kept, in case the new one is damaged on disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {**state, "fingerprint": self._fingerprint, "environment": self._surroundings}
        temporary = self.folder / "checkpoint.tmp"
        try:
            with disk_trouble_is_told(self.path), temporary.open("wb") as file:
                file.write(_FILE_HEAD + bytes(_DIGEST_SIZE))
                payload = _Digested(file)
                torch.save(content, cast("BinaryIO", payload))  # which needs only write and flush
                if payload.trouble:
                    raise payload.trouble
                file.seek(len(_FILE_HEAD))
                file.write(payload.digest.digest())
                file.flush()
                os.fsync(file.fileno())
            if self.path.exists():
                self.path.replace(self.previous)
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)
        _sync(self.folder)

    def exist(self) -> bool:
        """Return whether this run has a checkpoint."""
        return self.path.exists() or self.previous.exists()

    def load(self) -> State | None:
        """Return the newest intact checkpoint, on the CPU, and print what the user should know about it."""
        for path in (self.path, self.previous):
            if path.exists():
                try:
                    state = self._read(path)
                except ValueError as error:
                    say(f"{path} {error}. It is ignored.")
                    continue
                self._say_what_changed(state["environment"])
                return state
        others = {path.parent for path in self.folder.parent.glob("*/checkpoint*.pt")} - set(self._equal())
        if others:
            say(f"Ignored: {', '.join(map(str, sorted(others)))}, from runs with different parameters, data or code.")
        return None

    @contextmanager
    def until_done(self) -> Iterator[None]:
        """Remove the checkpoints when the block has finished, or has failed in a way that resuming would repeat."""
        with ExitStack() as stack:
            self.folder = self._take_folder(stack)
            try:
                yield
            except DivergedError:
                shutil.rmtree(self.folder, ignore_errors=True)
                raise
            shutil.rmtree(self.folder, ignore_errors=True)

    def _equal(self) -> list[Path]:
        """Return the folders of this run and of equal runs."""
        return sorted(self.folder.parent.glob(f"{self._fingerprint[:16]}*"))

    def _take_folder(self, stack: ExitStack) -> Path:
        """Lock a folder that no equal run is using, if possible one with a checkpoint."""
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS  # a run whose dvc was killed ends within a second
        while left := [folder for folder in self._equal() if (folder / "checkpoint.pt").exists()]:
            for folder in left:
                if stack.enter_context(hold(folder / "lock", patience=0)):
                    return folder
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        for number in itertools.count(1):
            folder = self.folder.with_name(self._fingerprint[:16] + (f"-{number}" if number > 1 else ""))
            if stack.enter_context(hold(folder / "lock", patience=0)):
                return folder
        raise AssertionError("unreachable")

    def _read(self, path: Path) -> State:
        """Return the state in a file.

        Raises:
            ValueError: The file is not an intact checkpoint of this run.
        """
        state = read_state(path)
        if state["fingerprint"] != self._fingerprint:
            raise ValueError("belongs to another run")
        return state

    def _say_what_changed(self, then: Mapping[str, str]) -> None:
        now = self._surroundings
        names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
        changes = [f"{name}: {then.get(name)}, now {now.get(name)}" for name in names]
        if changes:
            say(
                f"The checkpoint was written in a different environment ({'; '.join(changes)}). "
                "The run resumes; its weights will differ slightly from those of an uninterrupted run."
            )


def read_state(path: Path) -> State:
    """Return the state in a file, on the CPU.

    Raises:
        ValueError: The file is not an intact checkpoint; the message is a verb phrase, to follow the file's name.
    """
    with path.open("rb") as file:
        if file.read(len(_FILE_HEAD)) != _FILE_HEAD:
            raise ValueError("is not a checkpoint of this version")
        digest = file.read(_DIGEST_SIZE)
        if hashlib.file_digest(file, "sha256").digest() != digest:
            raise ValueError("is damaged")
        file.seek(len(_FILE_HEAD) + _DIGEST_SIZE)
        state: State = torch.load(file, map_location="cpu", weights_only=True)
    return state


class _Digested:
    """A file object that computes the digest of what is written to it, without holding a copy.

    An error of the disk is stored rather than raised: torch would still try to complete its archive, and raise another
    error that hides this one.
    """

    def __init__(self, file: BinaryIO):
        self._file, self.digest = file, hashlib.sha256()
        self.trouble: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes or a view of them; after an error, write nothing more."""
        self.digest.update(data)
        if not self.trouble:
            try:
                self._file.write(data)
            except OSError as error:
                self.trouble = error
        return len(data)

    def flush(self) -> None:
        """Do nothing: the caller that opened the file flushes it."""


def newest_first(work: Path) -> list[tuple[Path, float]]:
    """Return the checkpoints of all unfinished runs in a folder with their times of writing, newest first."""
    found: list[tuple[Path, float]] = []
    for path in work.glob("*/checkpoint*.pt"):
        with suppress(FileNotFoundError):  # the run has just replaced it, or has finished
            found.append((path, path.stat().st_mtime))
    return sorted(found, key=lambda item: item[1], reverse=True)


def environment(precision: Precision, ranks: int = 1) -> dict[str, str]:
    """Return everything but parameters, data and code that the bits of a result depend on.

    Args:
        precision: The device and the precision.
        ranks: The number of processes that train together.

    Returns:
        A mapping from names, such as "threads", to values.
    """
    cuda = precision.device.type == "cuda"
    return {
        "torch": str(torch.__version__),  # a plain str: a file with torch's own class could not be read back
        "device": torch.cuda.get_device_name(precision.device)
        if cuda
        else f"CPU with {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
        "precision": precision.name,
        "ranks": str(ranks),
    }


def _sync(folder: Path) -> None:
    """Make renames in a folder survive a power failure, if the system supports this."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
