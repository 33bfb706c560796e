"""Share numbered jobs among processes: this one, and helpers that it starts if there is much work.

The result of a job depends on its number alone. This process takes jobs from the first on, helpers from the last on,
until they meet, so that neighbouring jobs, which have much in common, mostly run in the same process.
"""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, NamedTuple, TypeVar

import psutil

from ssl_pipeline.progress import say

__all__ = ["Crew", "follow_parent"]

T = TypeVar("T")
Work = Callable[[int, Callable[[], object]], T]
"""Function that does a job: takes the job's number and a function to call after each part; returns the result."""

SERIAL_SECONDS = 2.0
"""Seconds of work before helpers are started."""
WORTHWHILE_SECONDS = 10.0
"""Seconds of work that must remain for helpers to be started; a helper takes about three seconds to start."""
_LOOK_SECONDS = 0.5


class _Failure(NamedTuple):
    """Error in a helper, which is sent to the parent."""

    error: Exception
    trace: str


class Crew(Generic[T]):
    """Group of processes that does numbered jobs; helpers are started only if they save time.

    If a helper dies, for example because memory has run out, this process does its jobs again.

    Args:
        parts: Number of parts of each job.
        work: Function that does a job in this process.
        prepare: Picklable function that returns the equivalent of `work` in another process.
        helpers: Maximum number of helpers; fewer are started if memory is short.
        report: Callback that receives the number of parts that all processes together have done.
    """

    def __init__(
        self,
        parts: list[int],
        work: Work[T],
        prepare: Callable[[], Work[T]],
        helpers: int,
        report: Callable[[int], None],
    ):
        self._parts, self._work, self._prepare, self._most, self._report = parts, work, prepare, helpers, report
        self._context = multiprocessing.get_context("spawn")  # torch and its threads do not survive a fork
        self._ledger = _Ledger(len(parts), self._context.Array("i", 3))
        self._crew: dict[Connection[Any, Any], Any] = {}
        self._outcomes: dict[int, T] = {}

    def run(self) -> list[T]:
        """Do all jobs, and return their results in order. Errors of a helper are raised here."""
        self._worked = 0.0  # seconds spent on finished parts, without what a job does after its parts
        try:
            while (job := self._ledger.first()) is not None:
                self._since = time.monotonic()
                self._outcomes[job] = self._work(job, self._advance)
            while missing := [job for job in range(len(self._parts)) if job not in self._outcomes]:
                if self._crew:
                    self._listen(_LOOK_SECONDS)
                else:
                    self._outcomes[missing[0]] = self._work(missing[0], lambda: None)
            return [self._outcomes[job] for job in range(len(self._parts))]
        finally:
            for process in self._crew.values():
                process.kill()
            for pipe, process in self._crew.items():
                process.join()
                pipe.close()

    def _advance(self) -> None:
        now = time.monotonic()
        self._worked, self._since = self._worked + now - self._since, now
        done = self._ledger.tick()
        self._listen(0.0)  # a helper waits if it sends more than a pipe can hold
        left = self._worked / done * (sum(self._parts) - done)
        if self._most and self._worked > SERIAL_SECONDS and left > WORTHWHILE_SECONDS:
            affordable = psutil.virtual_memory().available // (2 * psutil.Process().memory_info().rss)
            for _ in range(min(self._most, affordable)):
                self._start()
            self._most = 0

    def _start(self) -> None:
        pipe, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_help, args=(theirs, self._ledger, self._prepare), daemon=True)
        process.start()
        theirs.close()
        self._crew[pipe] = process

    def _listen(self, seconds: float) -> None:
        """Wait for results of helpers for that time, and drop helpers that have ended."""
        for pipe in wait(list(self._crew), seconds):
            assert isinstance(pipe, Connection)
            try:
                came = pipe.recv()
            except (EOFError, ConnectionResetError):
                process = self._crew.pop(pipe)
                process.join()
                if process.exitcode:
                    say("A helper process has died, perhaps because memory ran out; its work is done again here.")
                pipe.close()
                continue
            if isinstance(came, _Failure):
                came.error.add_note(came.trace)
                raise came.error
            job, outcome = came
            self._outcomes[job] = outcome
        self._report(self._ledger.done)


class _Ledger:
    """Record, in memory shared by all processes, of the jobs taken and the number of parts done."""

    def __init__(self, jobs: int, numbers: Any):
        self._jobs, self._numbers = jobs, numbers

    def first(self) -> int | None:
        """Take the first remaining job, and return its number; None if no jobs remain."""
        return self._take(0)

    def last(self) -> int | None:
        """Take the last remaining job, and return its number; None if no jobs remain."""
        return self._take(1)

    def _take(self, end: int) -> int | None:
        with self._numbers.get_lock():
            if self._numbers[0] + self._numbers[1] == self._jobs:
                return None
            taken: int = self._numbers[end]
            self._numbers[end] += 1
        return self._jobs - 1 - taken if end else taken

    def tick(self) -> int:
        """Count a part, and return the number of parts done."""
        with self._numbers.get_lock():
            self._numbers[2] += 1
            return int(self._numbers[2])

    @property
    def done(self) -> int:
        """Number of parts done."""
        return int(self._numbers[2])


def _help(pipe: "Connection[Any, Any]", ledger: _Ledger, prepare: Callable[[], Work[Any]]) -> None:
    """Do jobs in a helper process until no jobs remain, or the parent ends the process."""
    follow_parent()
    try:
        work = prepare()
        while (job := ledger.last()) is not None:
            pipe.send((job, work(job, ledger.tick)))
    except Exception as error:  # the parent raises it
        pipe.send(_Failure(error, traceback.format_exc()))


def follow_parent() -> None:
    """Leave Ctrl-C to the parent of this process, and end this process when the parent ends, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait_for_it() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait_for_it, daemon=True).start()
