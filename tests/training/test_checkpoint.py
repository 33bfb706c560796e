"""Checkpoints are whole or absent, found only by their own run, and verified when they are read."""

import errno
import os
import pickle
import subprocess
import sys

import pytest
import torch

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.training import checkpoint
from ssl_pipeline.training.checkpoint import Checkpoints, environment
from ssl_pipeline.training.endings import CollapsedError, DivergedError
from ssl_pipeline.training.precision import Precision

HERE = {"torch": "1", "threads": "2"}


def state(steps):
    return {"steps": steps, "module": {"weight": torch.full((3,), float(steps))}}


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path, "f" * 64, HERE)


def test_the_newest_one_is_read(checkpoints, capsys):
    assert checkpoints.load() is None
    for steps in (1, 2, 3):
        checkpoints.save(state(steps))
    found = checkpoints.load()
    assert found["steps"] == 3
    assert torch.equal(found["module"]["weight"], torch.full((3,), 3.0))
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["checkpoint.previous.pt", "checkpoint.pt"]
    assert capsys.readouterr().err == ""


def spoil_bit(path):
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def replace(path):
    path.write_bytes(b"PK not ours")


@pytest.mark.parametrize("damage", [spoil_bit, cut, empty, replace])
def test_a_damaged_one_is_said_and_the_one_before_is_read(checkpoints, capsys, damage):
    checkpoints.save(state(1))
    checkpoints.save(state(2))
    damage(checkpoints.path)
    assert checkpoints.load()["steps"] == 1
    assert str(checkpoints.path) in capsys.readouterr().err
    damage(checkpoints.previous)
    assert checkpoints.load() is None


@pytest.mark.parametrize("moment", ["fsync", "replace"])
@pytest.mark.parametrize("call", [1, 2])
def test_a_death_while_writing_leaves_a_whole_one(checkpoints, monkeypatch, moment, call):
    """Whichever system call is the last one: sync or rename of the old file, sync or rename of the new one."""
    checkpoints.save(state(1))
    calls = []
    real = getattr(os, moment)

    def dying(*arguments, **options):
        calls.append(moment)
        if len(calls) == call:
            raise SystemExit
        return real(*arguments, **options)

    monkeypatch.setattr(os, moment, dying)
    with pytest.raises(SystemExit):
        checkpoints.save(state(2))
    monkeypatch.undo()
    assert checkpoints.load()["steps"] == (2 if (moment, call) == ("fsync", 2) else 1)
    checkpoints.save(state(3))
    assert checkpoints.load()["steps"] == 3


def test_another_run_does_not_find_it_even_when_its_file_is_put_there(checkpoints, tmp_path, capsys):
    checkpoints.save(state(1))
    other = Checkpoints(tmp_path, "e" * 64, HERE)
    assert other.load() is None
    assert f"Ignored: {checkpoints.folder}, from runs with different parameters" in capsys.readouterr().err
    other.folder.mkdir()
    other.path.write_bytes(checkpoints.path.read_bytes())
    assert other.load() is None
    assert "belongs to another run" in capsys.readouterr().err


def test_nothing_in_it_is_executed(checkpoints):
    """A checkpoint that contains code is refused although its digest is right; no new run starts silently instead."""
    checkpoints.save({"steps": 1, "module": Exploit()})
    with pytest.raises(pickle.UnpicklingError):
        checkpoints.load()


class Exploit:
    def __reduce__(self):
        return (os.abort, ())


def test_another_environment_is_reported_and_the_run_goes_on(checkpoints, tmp_path, capsys):
    checkpoints.save(state(4))
    assert Checkpoints(tmp_path, "f" * 64, {**HERE, "threads": "8"}).load()["steps"] == 4
    message = capsys.readouterr().err
    assert "threads: 2, now 8" in message
    assert "torch" not in message


def test_the_environment_is_what_the_bits_depend_on_and_comes_back_whole(tmp_path, capsys):
    found = environment(Precision("bf16", torch.device("cpu")))
    checkpoints = Checkpoints(tmp_path, "f" * 64, found)
    checkpoints.save(state(2))
    assert checkpoints.load()["steps"] == 2
    assert capsys.readouterr().err == ""
    assert found["precision"] == "bf16"
    assert found["threads"] == str(torch.get_num_threads())
    assert found["torch"] == torch.__version__
    assert found["device"].startswith("CPU")


@pytest.mark.parametrize(
    ("outcome", "left"),
    [(None, False), (DivergedError, False), (CollapsedError, True), (KeyboardInterrupt, True), (RuntimeError, True)],
)
def test_they_are_kept_until_the_run_is_done_or_beyond_hope(checkpoints, outcome, left):
    checkpoints.save(state(1))

    def block():
        with checkpoints.until_done():
            if outcome is not None:
                raise outcome

    if outcome is None:
        block()
    else:
        with pytest.raises(outcome):
            block()
    assert checkpoints.folder.exists() == left


def test_a_full_disk_keeps_the_last_one_and_leaves_no_litter(checkpoints, monkeypatch):
    checkpoints.save(state(1))

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PipelineError, match=r"checkpoint.pt could not be written because the disk is full"):
        checkpoints.save(state(2))
    assert checkpoints.load()["steps"] == 1
    assert [path.name for path in checkpoints.folder.iterdir()] == ["checkpoint.pt"]


def test_a_disk_that_fills_up_amid_the_weights_is_told_and_the_one_before_is_kept(checkpoints, monkeypatch):
    checkpoints.save(state(1))

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            if len(data) > 1000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

    digested = checkpoint._Digested
    monkeypatch.setattr(checkpoint, "_Digested", lambda file: digested(Full(file)))
    with pytest.raises(PipelineError, match=r"checkpoint.pt could not be written because the disk is full"):
        checkpoints.save({"steps": 2, "module": {"weight": torch.ones(1000)}})
    assert checkpoints.load()["steps"] == 1
    assert [path.name for path in checkpoints.folder.iterdir()] == ["checkpoint.pt"]


def test_equal_runs_at_the_same_time_have_a_folder_each_and_a_killed_one_is_found_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checkpoint, "LOCK_PATIENCE_SECONDS", 0.0)
    first, second, third = (Checkpoints(tmp_path, "f" * 64, HERE) for _ in range(3))
    with pytest.raises(KeyboardInterrupt), first.until_done():  # for example in DVC's queue
        first.save(state(1))
        with second.until_done():
            assert second.load() is None
            second.save(state(2))
            assert second.folder != first.folder
        assert not second.folder.exists()
        raise KeyboardInterrupt
    with third.until_done():
        assert third.load()["steps"] == 1
    assert list(tmp_path.iterdir()) == []
    assert "Ignored" not in capsys.readouterr().err


_PEAK = """
import sys
from pathlib import Path
import torch
from ssl_pipeline.training.checkpoint import Checkpoints
def high_water():  # in MiB; getrusage would count what the parent held too
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
checkpoints = Checkpoints(Path(sys.argv[1]), "f" * 64, {})
checkpoints.save({"weights": [torch.ones(8)]})
checkpoints.load()
held = [torch.ones(2**20) for _ in range(32)]  # 4 MiB each
before = high_water()
checkpoints.save({"weights": held})
saved = high_water()
del held
checkpoints.load()
print(saved - before, high_water() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_is_written_and_read_without_a_second_copy_in_memory(tmp_path):
    """The tensors of the checkpoint take 128 MiB."""
    done = subprocess.run([sys.executable, "-c", _PEAK, tmp_path], capture_output=True, text=True, check=True)
    saving, loading = map(float, done.stdout.split())
    assert saving < 24
    assert loading < 24
