"""Only one run at a time, which ends with its dvc and stops cleanly on request; tested with real processes."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ssl_pipeline import guard
from ssl_pipeline.errors import LostRankError, PipelineError
from ssl_pipeline.guard import hold, only_run, stop_requests
from ssl_pipeline.products import remove_leftovers

HOLD = "import sys, time; from pathlib import Path; from ssl_pipeline.guard import only_run\n"
HOLD += "with only_run(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)"

STAGE = """import sys, time
from pathlib import Path
from ssl_pipeline.guard import end_with_dvc, only_run
from ssl_pipeline.products import atomic_folder
end_with_dvc()
folder = Path(sys.argv[0]).parent
with only_run(folder / "work"), atomic_folder(folder / "product"):
    print("runs", flush=True)
    while not (folder / "finish").exists():
        time.sleep(0.001)
"""
"""A stage, as far as the guard is concerned; it works until there is a file `finish`."""

DVC = "import subprocess, sys\n"
DVC += "subprocess.Popen(['/bin/sh', '-c', sys.argv[1]]).wait()"
"""A dvc, as far as the guard is concerned: it runs a stage through a shell and waits for the shell to end."""


def start(*words, **options):
    return subprocess.Popen([sys.executable, "-c", *words], stdout=subprocess.PIPE, text=True, **options)


@pytest.fixture
def holder(tmp_path):
    process = start(HOLD, str(tmp_path))
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_is_refused_and_told_of_the_first(tmp_path, holder):
    with (
        pytest.raises(PipelineError, match=rf"is in use.*active, process {holder.pid} \(python"),
        only_run(tmp_path, patience=0.3),
    ):
        pass


def test_a_lock_that_is_gone_when_its_holder_is_looked_for_is_no_trouble(tmp_path, holder, monkeypatch):
    acquire = guard._acquire

    def removed(path, deadline):
        file = acquire(path, deadline)
        path.unlink()
        return file

    monkeypatch.setattr(guard, "_acquire", removed)
    with (
        pytest.raises(PipelineError, match=r"is in use: another run .* process unknown"),
        only_run(tmp_path, patience=0),
    ):
        pass


def test_of_a_suspended_run_is_said_how_to_end_it(tmp_path, holder):
    holder.send_signal(signal.SIGSTOP)
    with (
        pytest.raises(PipelineError, match=rf"process {holder.pid} .* is suspended.*kill -9 {holder.pid}"),
        only_run(tmp_path, patience=0.3),
    ):
        pass


def test_a_lock_that_its_holder_removes_is_not_held_by_two(tmp_path, monkeypatch):
    """A process that opened the file before it was removed must not take this file for the lock."""
    path, lock, tries = tmp_path / "run" / "lock", guard._try_lock, itertools.count()

    def late(file):
        if next(tries) == 0:
            shutil.rmtree(path.parent)
        return lock(file)

    monkeypatch.setattr(guard, "_try_lock", late)
    with hold(path, patience=5) as first, hold(path, patience=0) as second:
        assert first
        assert not second


def test_a_killed_run_frees_the_lock_and_a_dying_one_is_waited_for(tmp_path, holder):
    killer = subprocess.Popen(["/bin/sh", "-c", f"sleep 0.5; kill -9 {holder.pid}"])
    with only_run(tmp_path, patience=10):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    killer.wait()


def test_the_lock_is_free_after_a_run(tmp_path):
    for _ in range(2):
        with only_run(tmp_path / "new", patience=0):
            pass


@pytest.fixture
def stage_under_dvc(tmp_path):
    """Return a function of environment variables that starts a stage under a process called dvc, and returns both."""
    (tmp_path / "dvc").write_text(DVC)
    (tmp_path / "stage.py").write_text(STAGE)
    command = f"{sys.executable} {tmp_path / 'stage.py'}; true"  # not the last command, so the shell stays in between
    inherited = {key: value for key, value in os.environ.items() if key != "DVC_STAGE"}
    started = []

    def begin(**variables):
        dvc = subprocess.Popen(
            [sys.executable, str(tmp_path / "dvc"), command],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**inherited, **variables},
        )
        assert dvc.stdout.readline() == "runs\n"
        family = psutil.Process(dvc.pid).children(recursive=True)
        started.append((dvc, family))
        return dvc, next(process for process in family if process.cmdline()[-1].endswith("stage.py"))

    yield begin
    for dvc, family in started:
        for process in (dvc, *(process for process in family if process.is_running())):
            process.kill()
        dvc.communicate()


def gone(process, within):
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.05)
    return False


def test_a_stage_ends_with_its_dvc_though_a_shell_lies_between(stage_under_dvc):
    dvc, stage = stage_under_dvc(DVC_STAGE="pretrain")
    time.sleep(1.0)
    assert not gone(stage, 0)  # the stage lives as long as dvc does
    dvc.kill()  # a killed dvc stays a zombie until it is waited for; a zombie is dead
    assert gone(stage, 5)


def test_a_stage_without_its_dvc_puts_nothing_in_place(stage_under_dvc, tmp_path):
    dvc, stage = stage_under_dvc(DVC_STAGE="augment")
    dvc.kill()
    dvc.wait()
    (tmp_path / "finish").touch()  # long before the stage would next check for its dvc
    assert gone(stage, 5)
    assert not (tmp_path / "product").exists()
    assert list(tmp_path.glob(".product.*.tmp"))
    remove_leftovers([tmp_path])
    assert not list(tmp_path.glob(".product.*.tmp"))


def test_no_run_begins_beside_a_suspended_one_whose_dvc_has_died(stage_under_dvc, tmp_path):
    dvc, stage = stage_under_dvc(DVC_STAGE="augment")
    stage.suspend()
    dvc.kill()
    dvc.wait()
    with (
        pytest.raises(PipelineError, match=rf"process {stage.pid} .*is suspended"),
        only_run(tmp_path / "work", patience=0.3),
    ):
        pass
    stage.resume()
    with only_run(tmp_path / "work", patience=10):
        assert not (tmp_path / "product").exists()


def test_a_stage_started_by_hand_outlives_who_started_it(stage_under_dvc):
    dvc, stage = stage_under_dvc()
    dvc.kill()
    assert not gone(stage, 1.5)


def test_a_stage_whose_dvc_died_before_it_looked_ends_too(tmp_path):
    wait = "import os, time; first = os.getppid(); print('runs', flush=True)\nwhile os.getppid() == first: time.sleep(0.01)\n"
    (tmp_path / "stage.py").write_text(wait + STAGE)
    parent = start(
        "import subprocess, sys, time; subprocess.Popen([sys.executable, sys.argv[1]]); time.sleep(60)",
        str(tmp_path / "stage.py"),
        env={**os.environ, "DVC_STAGE": "pretrain"},
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout.readline() == "runs\n"
    (stage,) = psutil.Process(parent.pid).children()
    parent.kill()
    assert gone(stage, 5)
    parent.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_asks_and_afterwards_all_is_as_before(number):
    before = signal.getsignal(number)
    with stop_requests() as requested:
        assert not requested()
        os.kill(os.getpid(), number)
        assert requested()
        assert (
            signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        )  # a second signal kills the process
    assert signal.getsignal(number) == before


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stop_requests() as requested:
            os.kill(os.getpid(), signal.SIGINT)
            assert not requested()
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_rank_that_was_asked_to_stop_ends_at_once_where_another_is_lost():
    with pytest.raises(LostRankError, match="gone"), stop_requests():
        raise LostRankError("gone")
    with pytest.raises(SystemExit) as ended, stop_requests():
        signal.raise_signal(signal.SIGTERM)
        raise LostRankError("gone")
    assert ended.value.code == 1
