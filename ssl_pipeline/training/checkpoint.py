"""Checkpoints: found only by the run that they belong to, whole or not there, and checked when they are read."""

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
    """The checkpoints of one run, in a folder of its own.

    Copies of the project that DVC makes for its queue share the work folder: a run that was killed in one of them goes
    on in another. Where two equal runs are at work at the same time, each has a folder.

    Args:
        work: The folder of all unfinished runs.
        fingerprint: The digest of everything that shapes the run. Another run looks elsewhere.
        surroundings: What the numbers depend on besides; see `environment`. A change is said, not refused.
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
        """The one before."""
        return self.folder / "checkpoint.previous.pt"

    def save(self, state: State) -> None:
        """Write a checkpoint; the last one stays beside it, in case this one should be damaged on its disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {**state, "fingerprint": self._fingerprint, "environment": self._surroundings}
        temporary = self.folder / "checkpoint.tmp"
        try:
            with disk_trouble_is_told(self.path), temporary.open("wb") as file:
                file.write(_FILE_HEAD + bytes(_DIGEST_SIZE))
                payload = _Digested(file)
                torch.save(content, cast("BinaryIO", payload))  # of which it asks no more than write and flush
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
        """Say whether this run has been begun before."""
        return self.path.exists() or self.previous.exists()

    def load(self) -> State | None:
        """Read the newest checkpoint that is whole, on the CPU, and say what a reader should know about it."""
        for path in (self.path, self.previous):
            if path.exists():
                try:
                    state = self._read(path)
                except ValueError as error:
                    say(f"{path} {error}, and is left aside.")
                    continue
                self._say_what_changed(state["environment"])
                return state
        others = {path.parent for path in self.folder.parent.glob("*/checkpoint*.pt")} - set(self._equal())
        if others:
            say(f"Not used: {', '.join(map(str, sorted(others)))}, from runs with other parameters, data or code.")
        return None

    @contextmanager
    def until_done(self) -> Iterator[None]:
        """Remove the checkpoints when the block is done, or when it failed in a way that going on would repeat."""
        with ExitStack() as stack:
            self.folder = self._take_folder(stack)
            try:
                yield
            except DivergedError:
                shutil.rmtree(self.folder, ignore_errors=True)
                raise
            shutil.rmtree(self.folder, ignore_errors=True)

    def _equal(self) -> list[Path]:
        """Return the folders of this run and those that are equal to it."""
        return sorted(self.folder.parent.glob(f"{self._fingerprint[:16]}*"))

    def _take_folder(self, stack: ExitStack) -> Path:
        """Lock a folder that no equal run is at work in, one with a checkpoint if there is any."""
        deadline = time.monotonic() + LOCK_PATIENCE_SECONDS  # one whose dvc was killed ends within a second
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
            ValueError: It is not a whole checkpoint of this run.
        """
        state = read_state(path)
        if state["fingerprint"] != self._fingerprint:
            raise ValueError("belongs to another run")
        return state

    def _say_what_changed(self, then: Mapping[str, str]) -> None:
        now = self._surroundings
        names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
        changes = [f"{name} was {then.get(name)} and is {now.get(name)}" for name in names]
        if changes:
            say(
                f"The checkpoint comes from other surroundings: {'; '.join(changes)}. "
                "The run goes on; its weights will differ a little from those of an uninterrupted one."
            )


def read_state(path: Path) -> State:
    """Return the state in a file, on the CPU.

    Raises:
        ValueError: It is not a whole checkpoint; the message goes on from the file's name.
    """
    with path.open("rb") as file:
        if file.read(len(_FILE_HEAD)) != _FILE_HEAD:
            raise ValueError("is no checkpoint of this version")
        digest = file.read(_DIGEST_SIZE)
        if hashlib.file_digest(file, "sha256").digest() != digest:
            raise ValueError("is damaged")
        file.seek(len(_FILE_HEAD) + _DIGEST_SIZE)
        state: State = torch.load(file, map_location="cpu", weights_only=True)
    return state


class _Digested:
    """A file that is written to, and the digest of what is written, of which no copy is held for that.

    Trouble with the disk is kept until all is said: torch ends its file whatever happens, and would raise an error of
    its own that hides this one.
    """

    def __init__(self, file: BinaryIO):
        self._file, self.digest = file, hashlib.sha256()
        self.trouble: OSError | None = None

    def write(self, data: Any) -> int:
        """Write bytes, or a view of them; nothing more where there was trouble."""
        self.digest.update(data)
        if not self.trouble:
            try:
                self._file.write(data)
            except OSError as error:
                self.trouble = error
        return len(data)

    def flush(self) -> None:
        """Do nothing: the file is flushed by whoever opened it."""


def newest_first(work: Path) -> list[tuple[Path, float]]:
    """Return the checkpoints of all unfinished runs in a folder, and when each was written, the newest first."""
    found: list[tuple[Path, float]] = []
    for path in work.glob("*/checkpoint*.pt"):
        with suppress(FileNotFoundError):  # its run has put another one in its place, or is done
            found.append((path, path.stat().st_mtime))
    return sorted(found, key=lambda item: item[1], reverse=True)


def environment(precision: Precision, ranks: int = 1) -> dict[str, str]:
    """Return what the bits of a result depend on, besides parameters, data and code.

    Args:
        precision: The device and the precision.
        ranks: The number of processes that train together.
    """
    cuda = precision.device.type == "cuda"
    return {
        "torch": str(torch.__version__),  # its own class would not be read back: it is code
        "device": torch.cuda.get_device_name(precision.device)
        if cuda
        else f"CPU with {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
        "precision": precision.name,
        "ranks": str(ranks),
    }


def _sync(folder: Path) -> None:
    """Make renames in a folder outlast a power cut, where the system can do so."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
