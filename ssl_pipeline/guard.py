"""Guard a run: allow one at a time, end it when the process that started it ends, and stop it cleanly on request."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import psutil

from ssl_pipeline.errors import LostRankError, PipelineError

__all__ = ["end_if_orphaned", "end_with_dvc", "hold", "only_run", "stop_requests"]

LOCK_PATIENCE_SECONDS = 10.0
"""Time to wait for another run to end; a run whose DVC process was killed notices within a second."""

_PERIOD_SECONDS = 0.5  # between two checks of the parent
_SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "busybox", "cmd.exe", "powershell.exe", "pwsh"}
_REAPERS = {"init", "systemd", "launchd", "tini", "docker-init", "dumb-init"}  # processes that adopt orphans

_followed: list[psutil.Process | None] = []
"""DVC process that this process must end with, or None if it died before it was found; empty without DVC."""


def end_with_dvc() -> None:
    """End this process at once when the DVC process that started it dies; do nothing if it was started by hand.

    When DVC is killed, its stage keeps running, and the next `dvc repro` would start a second one beside it. Ending
    without cleaning up is safe, because all files are written whole. Call this function early. If DVC is already dead
    by then, it is not found among the ancestors, which ends this process too.
    """
    if "DVC_STAGE" in os.environ and not _followed:  # DVC sets it for the commands of its stages
        _followed.append(_find_dvc())
        threading.Thread(target=_follow, name="end-with-dvc", daemon=True).start()


def end_if_orphaned() -> None:
    """End this process if its DVC process has died, before it replaces products that nobody is waiting for.

    A process that was suspended may get here before the thread that follows DVC has checked again.
    """
    for dvc in _followed:
        if dvc is None or not _lives(dvc):
            os.write(2, b"dvc has ended, so this stage ends too; run `dvc repro` again to continue.\n")
            os._exit(1)


def _find_dvc() -> psutil.Process | None:
    """Return the DVC process among the ancestors of this process, or None if it has already died.

    There may be wrappers in between (`uv run`, a shell), and DVC itself may run inside any Python program.
    """
    ancestors = []
    for process in psutil.Process().parents():
        with suppress(psutil.NoSuchProcess):
            ancestors.append((process, process.as_dict(["name", "cmdline"])))
    ancestors = [(process, facts) for process, facts in ancestors if facts["name"] not in _SHELLS]
    named = [
        process
        for process, facts in ancestors
        if any("dvc" in Path(word).name for word in facts["cmdline"] or [])  # None if access is denied
    ]
    others = [process for process, facts in ancestors if process.pid != 1 and facts["name"] not in _REAPERS]
    return next(iter(named + others), None)


def _follow() -> None:
    while True:
        end_if_orphaned()
        time.sleep(_PERIOD_SECONDS)


def _lives(process: psutil.Process) -> bool:
    try:  # is_running also compares start times, so a reused process number does not mislead it
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def only_run(folder: Path, patience: float = LOCK_PATIENCE_SECONDS) -> Iterator[None]:
    """Hold the lock of a folder's products; the operating system releases it when the process ends, however it ends.

    A stage holds the lock from its start to its end. A stage that outlives its DVC process, even a suspended one,
    therefore keeps every later run from starting, and can never replace the products of a later run.

    Args:
        folder: Folder of the lock; created if missing.
        patience: Time to wait for another holder, in seconds.

    Raises:
        PipelineError: Another process holds the lock for longer than `patience`.
    """
    with hold(folder / "lock", patience) as held:
        if not held:
            raise PipelineError(f"{folder} is in use: {_describe_holder(folder / 'lock')}, then run the command again.")
        yield


@contextmanager
def hold(path: Path, patience: float) -> Iterator[bool]:
    """Lock a file, which its holder may remove; yield whether this succeeded within `patience` seconds."""
    file = _acquire(path, time.monotonic() + patience)
    try:
        yield file is not None
    finally:
        if file:
            file.close()


def _acquire(path: Path, deadline: float) -> BinaryIO | None:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError), ExitStack() as stack:  # its last holder has just removed it or its folder
            file = stack.enter_context(path.open("a+b"))
            if _try_lock(file) and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                file.truncate(0)
                file.write(str(os.getpid()).encode())
                file.flush()
                stack.pop_all()  # the file stays open
                return file
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.1)


def _describe_holder(path: Path) -> str:
    """Return which process holds a lock, and how to end it."""
    number = "unknown"
    with suppress(OSError):  # its holder may remove or recreate it
        number = path.read_text(encoding="utf-8", errors="replace")[:20] or number
    try:
        process = psutil.Process(int(number))
        facts = process.as_dict(["cmdline", "status"])
    except (ValueError, psutil.NoSuchProcess):  # a process of another machine or container
        return f"another run is active, process {number}. Wait for it, or end it"
    program, *words = facts["cmdline"] or ["?"]
    command = " ".join(" ".join([Path(program).name, *words]).split())[:80]
    if facts["status"] == psutil.STATUS_STOPPED:
        return (
            f"process {number} ({command}) is suspended in the middle of its work. Resume it "
            f"(`kill -CONT {number}`), or end it (`kill -9 {number}`)"
        )
    return (
        f"another run is active, process {number} ({command}). "
        f"Wait for it, or end it (`kill {number}`; a run that can be resumed saves its state first)"
    )


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _try_lock(file: BinaryIO) -> bool:
        file.seek(1 << 20)  # beyond the process number, which others must be able to read
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            raise PipelineError(
                f"{file.name}: the file system does not support locks ({error.strerror}), so two runs could mix up "
                "their products. Move the project to another disk."
            ) from error
        return True


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; a second one ends the process as usual.

    A signal that is ignored (as under nohup) stays ignored.

    Yields:
        Function that returns whether a stop was requested.
    """
    requested = threading.Event()
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]

    def request(number: int, frame: FrameType | None) -> None:
        requested.set()
        for each in numbers:
            signal.signal(each, signal.SIG_DFL)

    before = {number: signal.signal(number, request) for number in numbers}
    try:
        yield requested.is_set
    except LostRankError as error:
        if requested.is_set():  # the launcher stops all ranks if one has failed, and reports why
            raise SystemExit(error.exit_code) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
