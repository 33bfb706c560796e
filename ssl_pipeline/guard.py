"""One run at a time, that ends when whoever started it does, and that stops in good order when asked to."""

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
"""Seconds to wait for another run to end: one whose dvc was killed notices within a second."""

_PERIOD_SECONDS = 0.5  # seconds between looks at the parent
_SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "busybox", "cmd.exe", "powershell.exe", "pwsh"}
_REAPERS = {"init", "systemd", "launchd", "tini", "docker-init", "dumb-init"}  # who adopts orphans

_followed: list[psutil.Process | None] = []
"""The dvc that this process ends with, or None if that had died before it was found; nothing if there is none."""


def end_with_dvc() -> None:
    """End this process at once when the dvc that started it dies; do nothing when it was started by hand.

    A dvc that is killed leaves its stage running, and the next one would start a second beside it. Ending without a
    goodbye is safe, as all that is written here is written whole. Call it early: a dvc that is dead by then is missed
    among the ancestors, and that ends this process too.
    """
    if "DVC_STAGE" in os.environ and not _followed:  # dvc sets it for the commands of its stages
        _followed.append(_find_dvc())
        threading.Thread(target=_follow, name="end-with-dvc", daemon=True).start()


def end_if_orphaned() -> None:
    """End this process if the dvc that it ends with has died: what it was about to put in place is wanted no more.

    A process that was suspended may come here before the thread that follows dvc has looked again.
    """
    for dvc in _followed:
        if dvc is None or not _lives(dvc):
            os.write(2, b"dvc has ended, and with it this stage; run `dvc repro` again to go on.\n")
            os._exit(1)


def _find_dvc() -> psutil.Process | None:
    """Return the dvc above this process, or None if it has died already.

    Wrappers may lie between (`uv run`, a shell), and dvc itself may run inside any Python program.
    """
    ancestors = []
    for process in psutil.Process().parents():
        with suppress(psutil.NoSuchProcess):
            ancestors.append((process, process.as_dict(["name", "cmdline"])))
    ancestors = [(process, facts) for process, facts in ancestors if facts["name"] not in _SHELLS]
    named = [
        process
        for process, facts in ancestors
        if any("dvc" in Path(word).name for word in facts["cmdline"] or [])  # None: not ours to read
    ]
    others = [process for process, facts in ancestors if process.pid != 1 and facts["name"] not in _REAPERS]
    return next(iter(named + others), None)


def _follow() -> None:
    while True:
        end_if_orphaned()
        time.sleep(_PERIOD_SECONDS)


def _lives(process: psutil.Process) -> bool:
    try:  # is_running knows a process by its start, too, so that a reused number does not deceive it
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def only_run(folder: Path, patience: float = LOCK_PATIENCE_SECONDS) -> Iterator[None]:
    """Hold the lock of a folder's products; the operating system frees it when the process ends, in whatever way.

    A stage holds it from its start to its end. So one that outlived its dvc, even one that is suspended, keeps every
    later run from starting, and can never put its products in place of theirs.

    Args:
        folder: The folder of the lock; made if need be.
        patience: Seconds to wait for another holder.

    Raises:
        PipelineError: Another process holds it for longer than that.
    """
    with hold(folder / "lock", patience) as held:
        if not held:
            raise PipelineError(f"{folder} is in use: {_describe_holder(folder / 'lock')}, then run the command again.")
        yield


@contextmanager
def hold(path: Path, patience: float) -> Iterator[bool]:
    """Lock a file, which its holder may remove; say whether that succeeded within `patience` seconds."""
    file = _acquire(path, time.monotonic() + patience)
    try:
        yield file is not None
    finally:
        if file:
            file.close()


def _acquire(path: Path, deadline: float) -> BinaryIO | None:
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError), ExitStack() as stack:  # its last holder removed it, or its folder, just now
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
    """Return who holds a lock, and how to have it end."""
    number = "unknown"
    with suppress(OSError):  # its holder may remove it, or make it anew
        number = path.read_text(encoding="utf-8", errors="replace")[:20] or number
    try:
        process = psutil.Process(int(number))
        facts = process.as_dict(["cmdline", "status"])
    except (ValueError, psutil.NoSuchProcess):  # another machine's, or another container's
        return f"another run is active here, as process {number}. Wait for it, or end it"
    program, *words = facts["cmdline"] or ["?"]
    command = " ".join(" ".join([Path(program).name, *words]).split())[:80]
    if facts["status"] == psutil.STATUS_STOPPED:
        return (
            f"process {number} ({command}) is suspended in the middle of its work. Let it go on "
            f"(`kill -CONT {number}`), or end it (`kill -9 {number}`)"
        )
    return (
        f"another run is active here, as process {number} ({command}). "
        f"Wait for it, or end it (`kill {number}`: a run that can go on later saves its state first)"
    )


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _try_lock(file: BinaryIO) -> bool:
        file.seek(1 << 20)  # away from the number, which others must be able to read
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
                f"{file.name}: its file system cannot lock files ({error.strerror}), so two runs could mix up their "
                "products. Move the project to another disk."
            ) from error
        return True


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop; a second one ends the process as it always does.

    A signal that is ignored (as under nohup) stays ignored.

    Yields:
        A function that says whether a stop was requested.
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
        if requested.is_set():  # the launcher ends all ranks where one has failed, and tells why
            raise SystemExit(error.exit_code) from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
