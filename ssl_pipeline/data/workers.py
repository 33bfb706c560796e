"""Processes that can be ended: whatever a file makes a decoder do, only that file is lost.

A process takes a chunk of files and sends the outcome of each as soon as it has it, so that the file is known at which
it died. The system holds the bounds: a timer ends a process in the middle of a C library's loop, where no Python code
is heard.
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
"""Chunks on the way for each process: one in work, one waiting, one done."""
HELD_BYTES = 2**28
"""Bytes of outcomes that are held while an earlier file is waited for. Beyond them, processes wait to be listened to:
each has one more outcome."""
HEARD_BYTES = 2**24
"""Bytes of outcomes after which the others are listened to."""
PATIENCE_WITH_THE_DYING = 10.0
"""Seconds until a process that has closed its pipe is no more."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT_BYTES = 2**25  # bytes: the most that glibc takes for the second one
CRASHES = frozenset({"SIGSEGV", "SIGBUS", "SIGABRT", "SIGFPE", "SIGILL", "SIGTRAP"})


class Limits(NamedTuple):
    """What one file may cost, where the system has such bounds (Windows has none of them, macOS none of memory).

    Attributes:
        seconds: Processor time, s, for a file of no size.
        seconds_per_byte: Processor time that each byte of a file adds, s: only small files that take long are odd.
        memory: Bytes beside those of a process at its start.
        pauses: How many times as long it may take by the clock as by the processor: disks and networks keep it waiting.
    """

    seconds: float
    seconds_per_byte: float
    memory: int
    pauses: float = 10.0


class _Ready(NamedTuple):
    """A process has started, and what ends it from now on is a file's doing."""


class _Failure(NamedTuple):
    """An error that is no file's fault, on its way to the parent."""

    error: Exception
    trace: str


def outcome(read: Callable[[str], Any], work: Callable[[Any], Any], name: str) -> Any:
    """Read a file and work on it: what `work` returns, or why the file is rejected."""
    try:
        return work(read(name))
    except RejectedError as error:
        return RejectedError(error.kind, error.detail)  # without its traceback, which would keep the image in memory
    except MemoryError:
        return RejectedError("too large", "it does not fit in memory")


def in_order(chunks: Iterable[Chunk], workers: int, limits: Limits, patience: float) -> Iterator[Any]:
    """Work on chunks in processes; outcomes come in the order of the files, and depend on neither number nor time.

    Args:
        chunks: Taken as they are needed, so that a bounded number is on the way.
        workers: Processes, at most.
        limits: What each file may cost.
        patience: Seconds before there is more than one process.

    Raises:
        PipelineError: A process was killed from outside, as the system does where memory runs out.
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
    """Return whom to listen to: all, or whoever is at the first chunk alone where too much is held for it."""
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
    """A process, as its parent sees it."""

    def __init__(self, limits: Limits):
        context = _context()
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, limits), daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        theirs.close()
        self.chunk: Chunk | None = None
        self.ready = False

    def take(self, chunk: Chunk) -> None:
        """Give it a chunk to work on; it must have none."""
        self.chunk = chunk
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has died: reading from the pipe will tell
            self.pipe.send((chunk.names[len(chunk.outcomes) :], chunk.read, chunk.work))

    def receive(self) -> bool:
        """Take what has come, up to a few outcomes; False: nothing will come any more."""
        taken = 0
        try:
            while taken < HEARD_BYTES and self.pipe.poll():
                message = self.pipe.recv_bytes()  # what `recv` does, in two steps
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
        """Say why it died, as the outcome of the file that it was at; return what is left to do of its chunk."""
        self.process.join(PATIENCE_WITH_THE_DYING)
        self.end()
        cause = _cause_of_death(self.process.exitcode or 0, limits)
        if self.chunk is None or not self.ready:
            raise RuntimeError(f"a decoding process ended before it received a file: {cause}")
        self.chunk.add(cause)
        return [] if self.chunk.done else [self.chunk]

    def end(self) -> None:
        """End it, whatever it is at."""
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
    """Return how processes start: never as a copy of this one, which torch or an open archive does not survive."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # the last two, which each process would import when it meets its first picture
    context.set_forkserver_preload([__name__, "ssl_pipeline.data.parallel", "imagehash", "scipy.fftpack"])
    return context


def _serve(pipe: "Connection[Any, Any]", limits: Limits) -> None:
    """Work in a process of its own until the parent ends it."""
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
            except Exception as error:  # what cannot be sent is a bug of ours, and no file's fault
                pipe.send(_Failure(error, traceback.format_exc()))


def _bounded_outcome(read: Callable[[str], Any], work: Callable[[Any], Any], name: str, limits: Limits) -> Any:
    def work_by_the_clock(content: Any) -> Any:
        seconds = limits.seconds + limits.seconds_per_byte * (len(content) if isinstance(content, bytes) else 0)
        _set_timers(seconds, limits.pauses * seconds)
        return work(content)

    # Reading may open an archive of a million files, whose time is not this file's; it must only come to an end.
    _set_timers(0.0, limits.pauses * limits.seconds)
    try:
        return outcome(read, work_by_the_clock, name)
    except Exception as error:
        return _Failure(error, traceback.format_exc())
    finally:
        _set_timers(0.0, 0.0)


def _set_timers(working: float, waiting: float) -> None:
    """End this process by a signal after so many seconds of its own work, and after so many by the clock; 0: never."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, working)
        signal.setitimer(signal.ITIMER_REAL, waiting)


def _keep_what_is_freed() -> None:
    """Have this process keep some freed memory for its next picture, where the C library is glibc.

    By default it goes back to the system after each picture, and comes again page by page: of photographs of 5
    megapixels, that takes a fifth of the time.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_BYTES)


def _bound_memory(more: int) -> None:
    """Let this process take so many bytes more than it has; where it asks for others, Python raises MemoryError."""
    taken = getattr(psutil.Process().memory_info(), "data", None)  # Linux only, which alone holds to the limit
    if sys.platform != "win32" and taken is not None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = taken + more if hard == resource.RLIM_INFINITY else min(hard, taken + more)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
