"""Jobs shared with real helper processes; each job that a helper does leaves a file."""

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ssl_pipeline import processes
from ssl_pipeline.processes import Crew

JOBS = 4


def helping(folder: Path, ends: Callable[[int], object]) -> Callable[[int, Callable[[], object]], str]:
    """Return the function that a helper runs for each job; `ends` decides how the job ends."""

    def work(number: int, advance: Callable[[], object]) -> str:
        (folder / str(number)).write_text(str(os.getpid()))
        ends(number)
        advance()
        return f"job {number}"

    return work


def nothing(_: int) -> None:
    """End normally."""


def die(_: int) -> None:
    os._exit(9)


def fail(number: int) -> None:
    raise LookupError(f"there is no {number}")


def hang(_: int) -> None:
    time.sleep(10)


def wait_for(path: Path) -> None:
    ends = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < ends, "no helper came"
        time.sleep(0.01)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[str], list[int], list[int]]]:
    """Return a function that runs the jobs and returns the outcomes, the jobs done here and the reported progress."""
    monkeypatch.setattr(processes, "SERIAL_SECONDS", -1.0)
    monkeypatch.setattr(processes, "WORTHWHILE_SECONDS", 0.0)

    def run(helpers: int, ends: Callable[[int], object] = nothing) -> tuple[list[str], list[int], list[int]]:
        here: list[int] = []
        reported: list[int] = []

        def work(number: int, advance: Callable[[], object]) -> str:
            here.append(number)
            advance()
            if helpers and number == 0:
                wait_for(tmp_path / str(JOBS - 1))
            return f"job {number}"

        crew = Crew([1] * JOBS, work, partial(helping, tmp_path, ends), helpers, reported.append)
        return crew.run(), here, reported

    return run


def test_helpers_take_jobs_from_the_end_and_outcomes_come_in_order(run, tmp_path):
    outcomes, here, reported = run(helpers=1)
    assert outcomes == [f"job {number}" for number in range(JOBS)]
    there = sorted(int(path.name) for path in tmp_path.iterdir())
    assert sorted(here + there) == list(range(JOBS))
    assert JOBS - 1 in there
    assert {int(path.read_text()) for path in tmp_path.iterdir()} - {os.getpid()}
    assert reported[-1] == JOBS
    assert reported == sorted(reported)


def test_jobs_of_a_helper_that_dies_are_done_here(run, tmp_path):
    outcomes, here, _ = run(helpers=1, ends=die)
    assert outcomes == [f"job {number}" for number in range(JOBS)]
    assert [path.name for path in tmp_path.iterdir()] == [str(JOBS - 1)]
    assert sorted(here) == list(range(JOBS))


def test_an_error_in_a_helper_is_raised_here_and_says_where_it_arose(run):
    with pytest.raises(LookupError, match="there is no 3") as raised:
        run(helpers=1, ends=fail)
    assert "in fail" in raised.value.__notes__[0]


def test_helpers_do_not_come_where_there_is_little_to_do_or_little_memory(run, tmp_path, monkeypatch):
    assert run(helpers=0)[1] == list(range(JOBS))
    started = []
    monkeypatch.setattr(Crew, "_start", lambda self: started.append(self))
    for memory, worthwhile, expected in ((2**60, 1e6, 0), (2**10, 0.0, 0), (2**60, 0.0, 2)):
        monkeypatch.setattr(processes, "WORTHWHILE_SECONDS", worthwhile)
        monkeypatch.setattr(
            processes.psutil, "virtual_memory", lambda memory=memory: type("M", (), {"available": memory})
        )
        Crew([1, 1], lambda number, advance: advance(), nothing, 2, nothing).run()
        assert len(started) == expected


def test_helpers_end_with_an_error_here(run, tmp_path, monkeypatch):
    """After Ctrl-C, for example, no helper keeps running."""
    began = []
    start = Crew._start
    monkeypatch.setattr(Crew, "_start", lambda self: (start(self), began.extend(self._crew.values())))

    def work(number: int, advance: Callable[[], object]) -> None:
        advance()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Crew([1] * JOBS, work, partial(helping, tmp_path, hang), 1, nothing).run()
    assert [process.exitcode for process in began] == [-signal.SIGKILL]
