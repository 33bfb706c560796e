"""Peak memory of a command and all its descendants together."""

import subprocess
import threading
from collections.abc import Sequence

import psutil

from benchmarks.project import ROOT, environment

__all__ = ["peak"]

EVERY = 0.1  # s


def peak(words: Sequence[str]) -> float:
    """Run a command until it ends; return its peak memory in MiB, sampled ten times per second.

    Pages that several processes share are divided among them (proportional set size, Linux).

    Raises:
        SystemExit: The command failed.
    """
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    ended, most = threading.Event(), 0

    def watch() -> None:
        nonlocal most
        while not ended.wait(EVERY):
            most = max(most, held(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        _, said = process.communicate()
    finally:
        ended.set()
        watcher.join()
        process.kill()
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{said}")
    return most / 2**20


def held(pid: int) -> int:
    """Return the memory that a process and its descendants use now, in bytes."""
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return 0
    return sum(own(each) for each in family)


def own(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):  # the process is just ending
        return 0
