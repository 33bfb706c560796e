"""One run at a time, that ends when whoever started it does, and that stops in good order when asked to."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO

import psutil

from ssl_pipeline.errors import PipelineError

__all__ = ["end_with_dvc", "only_run", "stop_requests"]

PATIENCE = 10.0
"""Seconds to wait for another run to end: one whose dvc was killed notices within a second."""

_PERIOD = 0.5  # seconds between looks at the parent
_SHELLS = {"sh", "bash", "dash", "zsh", "fish", "ksh", "busybox", "cmd.exe", "powershell.exe", "pwsh"}
_REAPERS = {"init", "systemd", "launchd", "tini", "docker-init", "dumb-init"}  # who adopts orphans


def end_with_dvc() -> None:
    """End this process at once when the dvc that started it dies; do nothing when it was started by hand.

    A dvc that is killed leaves its stage running, and the next one would start a second beside it. Ending without a
    goodbye is safe, as all that is written here is written whole. Call it early: a dvc that is dead by then is missed
    among the ancestors, and that ends this process too.
    """
    if "DVC_STAGE" in os.environ:  # dvc sets it for the commands of its stages
        threading.Thread(target=_follow, args=(_find_dvc(),), name="end-with-dvc", daemon=True).start()


def _find_dvc() -> psutil.Process | None:
    """The dvc above this process, or None if it has died already.

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


def _follow(process: psutil.Process | None) -> None:
    while process is not None and _lives(process):
        time.sleep(_PERIOD)
    os.write(2, b"dvc has ended, and with it this stage; run `dvc repro` again to go on.\n")
    os._exit(1)


def _lives(process: psutil.Process) -> bool:
    try:  # is_running knows a process by its start, too, so that a reused number does not deceive it
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def only_run(folder: Path, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of a work folder; the operating system frees it when the process ends, in whatever way.

    Args:
        folder: Where the lock lies; made if need be.
        patience: Seconds to wait for another holder.

    Raises:
        PipelineError: Another process holds it for longer than that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+b") as file:
        deadline = time.monotonic() + patience
        while not _try_lock(file):
            if time.monotonic() > deadline:
                file.seek(0)
                holder = file.read().decode(errors="replace") or "unknown"
                raise PipelineError(
                    f"{folder} is in use: another pretraining is running here, as process {holder}. "
                    f"Wait for it, or stop it (`kill {holder}`: it saves a checkpoint first), then run this again."
                )
            time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        file.flush()
        yield


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
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
