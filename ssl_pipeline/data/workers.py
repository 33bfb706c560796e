"""Decoding processes that can be killed, so that whatever a file makes a decoder do, only that file is lost.

A process takes a chunk of files and sends the outcome of each as soon as it is known, so that if the process dies, the
file at which it died is known, too. The system enforces the limits: a timer ends a process even inside a loop of a C
library, where no Python code runs.
"""

import contextlib
import ctypes
import functools
import multiprocessing
import pickle
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any, NamedTuple

import psutil

from ssl_pipeline.data.chunk import Chunk
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.processes import follow_parent

if sys.platform != "win32":
    import resource

__all__ = ["Limits", "Worker", "in_order", "outcome"]

CHUNKS_EACH = 3
"""Number of chunks in flight per process: one in progress, one waiting, one done."""
HELD_BYTES = 2**28
"""Largest size of outcomes that are held while an earlier file is pending, in bytes. Beyond it, outcomes of other
processes are not received; each of them then holds one more."""
HEARD_BYTES = 2**24
"""Size of outcomes received from one process, in bytes, after which it is the turn of the others."""
PATIENCE_WITH_THE_DYING = 10.0
"""Seconds to wait for a process that has closed its pipe to end."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # constants of malloc.h
_KEPT_BYTES = 2**25  # bytes; the largest _M_MMAP_THRESHOLD that glibc accepts
CRASHES = frozenset({"SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL", "SIGTRAP"})


class Limits(NamedTuple):
    """Limits on the cost of one file, as far as the system enforces them (Windows: none; macOS: none on memory).

    Attributes:
        seconds: Processor time for an empty file, s.
        seconds_per_byte: Additional processor time per byte of the file, s, because large files may take longer.
        memory: Memory on top of that of a process at its start, in bytes.
        pauses: Ratio of the limit on wall-clock time to that on processor time: disks and networks cause waiting.
    """

    seconds: float
    seconds_per_byte: float
    memory: int
    pauses: float = 10.0


class _Ready(NamedTuple):
    """Message that a process has started; if it ends from now on, a file is the cause."""


class _Failure(NamedTuple):
    """Message to the parent about an error that no file has caused."""

    error: Exception
    trace: str


def outcome(read: Callable[[str], Any], work: Callable[[Any], Any], name: str) -> Any:
    """Read a file and work on it, and return the result of `work` or the reason why the file is rejected."""
    try:
        return work(read(name))
    except RejectedError as error:
        return RejectedError(error.kind, error.detail)  # without its traceback, which would keep the image in memory
    except MemoryError:
        return RejectedError("too large", "it does not fit in memory")


def in_order(chunks: Iterable[Chunk], workers: int, limits: Limits, patience: float) -> Iterator[Any]:
    """Work on chunks in processes, and yield the outcomes in the order of the files.

    The outcomes depend neither on the number of processes nor on timing.

    Args:
        chunks: Chunks, which are taken only when needed, so that their number in memory is bounded.
        workers: Largest number of processes.
        limits: Limits on the cost of each file.
        patience: Seconds before a second process starts.

    Raises:
        PipelineError: A process was killed from outside, as the system does if memory runs out.
    """
    crew: list[Worker] = []
    ordered: deque[Chunk] = deque()
    waiting: deque[Chunk] = deque()
    coming, started = iter(chunks), time.monotonic()
    try:
        while True:
            while len(ordered) < CHUNKS_EACH * max(1, len(crew)) and (chunk := next(coming, None)) is not None:
                ordered.append(chunk)
                waiting.append(chunk)
            if not ordered:
                return
            allowed = workers if time.monotonic() - started >= patience else 1
            _hand_out(waiting, crew, allowed, limits)
            heard = _heard(crew, ordered)
            ready = wait([worker.pipe for worker in heard], 0.1 if waiting and len(crew) < workers else None)
            for worker in [worker for worker in heard if worker.pipe in ready]:
                if not worker.receive():
                    crew.remove(worker)
                    waiting.extendleft(worker.bury(limits))
            while ordered:
                yield from ordered[0].take()
                if not ordered[0].done:
                    break
                ordered.popleft()
    finally:
        for worker in crew:
            worker.end()


def _heard(crew: list["Worker"], ordered: deque[Chunk]) -> list["Worker"]:
    """Return the workers to receive from: all, or only that of the first chunk if too much is held until it is done."""
    if sum(sum(chunk.held) for chunk in ordered) < HELD_BYTES:
        return crew
    return [worker for worker in crew if worker.chunk is ordered[0]] or crew


def _hand_out(waiting: deque[Chunk], crew: list["Worker"], allowed: int, limits: Limits) -> None:
    idle = [worker for worker in crew if worker.chunk is None]
    while waiting and (idle or len(crew) < allowed):
        if not idle:
            crew.append(Worker(limits))
            idle.append(crew[-1])
        idle.pop().take(waiting.popleft())


class Worker:
    """A decoding process, seen from its parent.

    Args:
        limits: Limits on the cost of each file.
    """

    def __init__(self, limits: Limits):
        context = _context()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, limits), daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()
        self.chunk: Chunk | None = None
        self.ready = False

    def take(self, chunk: Chunk) -> None:
        """Send a chunk to the process, which must be idle."""
        self.chunk = chunk
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # if it has died, `receive` will notice
            self.pipe.send((chunk.names[len(chunk.outcomes) :], chunk.read, chunk.work))

    def receive(self) -> bool:
        """Receive the outcomes that have arrived, up to `HEARD_BYTES`; return False if the process has died."""
        taken = 0
        try:
            while taken < HEARD_BYTES and self.pipe.poll():
                message = self.pipe.recv_bytes()  # like `recv`, but in two steps, which reveals the size
                came = pickle.loads(message)
                taken += len(message)
                if isinstance(came, _Ready):
                    self.ready = True
                    continue
                assert self.chunk is not None
                if isinstance(came, _Failure):
                    came.error.add_note(came.trace)
                    raise came.error
                self.chunk.add(came, len(message))
                if self.chunk.done:
                    self.chunk = None
        except (EOFError, ConnectionResetError):
            return False
        return True

    def bury(self, limits: Limits) -> list[Chunk]:
        """Record why the process died as the outcome of its current file; return its chunk if files of it are left."""
        self.process.join(PATIENCE_WITH_THE_DYING)
        self.end()
        cause = _cause_of_death(self.process.exitcode or 0, limits)
        if self.chunk is None or not self.ready:
            raise RuntimeError(f"a decoding process ended before it received a file: {cause}")
        self.chunk.add(cause)
        return [] if self.chunk.done else [self.chunk]

    def end(self) -> None:
        """Kill the process, whatever it is doing."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


def _cause_of_death(status: int, limits: Limits) -> RejectedError:
    name = signal.Signals(-status).name if status < 0 else f"status {status}"
    each = limits.seconds_per_byte * 1e6
    if name == "SIGPROF":
        return RejectedError("too slow", f"decoding took more than {limits.seconds:g} s plus {each:g} s per megabyte")
    if name == "SIGALRM":
        most, each = limits.pauses * limits.seconds, limits.pauses * each
        return RejectedError("too slow", f"reading and decoding took more than {most:g} s plus {each:g} s per megabyte")
    if name in CRASHES:
        return RejectedError("broken", f"its decoder crashed ({name})")
    if status >= 0:
        return RejectedError("broken", f"its decoder ended with {name}")
    raise PipelineError(
        "A decoding process was killed, most likely because memory ran out. Lower max_megapixels, or run the command "
        "on fewer cores (taskset -c 0 ...)."
    )


@functools.cache
def _context() -> BaseContext:
    """Return the start method of processes, which is never fork, because torch and open archives do not survive it."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # the last two modules would otherwise be imported by each process at its first picture
    context.set_forkserver_preload([__name__, "ssl_pipeline.data.parallel", "imagehash", "scipy.fftpack"])
    return context


def _serve(pipe: "Connection[Any, Any]", limits: Limits) -> None:
    """Work on chunks in a child process until the parent kills it."""
    follow_parent()
    _keep_what_is_freed()
    _bound_memory(limits.memory)
    pipe.send(_Ready())
    while True:
        names, read, work = pipe.recv()
        for name in names:
            found = _bounded_outcome(read, work, name, limits)
            try:
                pipe.send(found)
            except Exception as error:  # an outcome that cannot be sent is a bug, and not the fault of a file
                pipe.send(_Failure(error, traceback.format_exc()))


def _bounded_outcome(read: Callable[[str], Any], work: Callable[[Any], Any], name: str, limits: Limits) -> Any:
    def work_by_the_clock(content: Any) -> Any:
        seconds = limits.seconds + limits.seconds_per_byte * (len(content) if isinstance(content, bytes) else 0)
        _set_timers(seconds, limits.pauses * seconds)
        return work(content)

    # Reading may open an archive of a million files. This time is not charged to the file, but it must end eventually.
    _set_timers(0.0, limits.pauses * limits.seconds)
    try:
        return outcome(read, work_by_the_clock, name)
    except Exception as error:
        return _Failure(error, traceback.format_exc())
    finally:
        _set_timers(0.0, 0.0)


def _set_timers(working: float, waiting: float) -> None:
    """Let a signal end this process after `working` s of processor time or `waiting` s of wall-clock time; 0: never."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, working)
        signal.setitimer(signal.ITIMER_REAL, waiting)


def _keep_what_is_freed() -> None:
    """Make this process keep some freed memory for its next picture, if the C library is glibc.

    By default, memory returns to the system after each picture and is allocated again page by page, which takes a fifth
    of the time for photographs of 5 megapixels.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_BYTES)


def _bound_memory(more: int) -> None:
    """Let this process allocate `more` bytes on top of what it has; beyond that, Python raises MemoryError."""
    taken = getattr(psutil.Process().memory_info(), "data", None)  # only on Linux, which alone enforces the limit
    if sys.platform != "win32" and taken is not None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = taken + more if hard == resource.RLIM_INFINITY else min(hard, taken + more)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
