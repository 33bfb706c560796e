"""pretrain with two processes, started by `pretrain.devices`: Ctrl-C leaves a checkpoint, from which they go on."""

import os
import signal
import subprocess
import sys
import time

import pytest

from benchmarks.project import change, environment
from tests.stages.small_pretraining import prepare

COMMAND = [sys.executable, "-m", "ssl_pipeline", "pretrain"]


@pytest.fixture
def project(tmp_path):
    folder = prepare(tmp_path / "project")
    change(folder, pretrain={"devices": 2, "batch_size": 17})  # which two do not divide
    return folder


def run(folder, words=COMMAND):
    variables = environment() | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, cwd=folder, env=variables, start_new_session=True, stderr=subprocess.PIPE, text=True)


def test_two_processes_stop_at_ctrl_c_and_go_on(project):
    first = run(project)
    deadline = time.monotonic() + 120
    while not list(project.glob(".work/*/checkpoint.pt")):
        assert time.monotonic() < deadline, first.kill() or first.stderr.read()
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGINT)
    _, said = first.communicate()
    assert first.returncode == 130, said
    assert said.count("with a checkpoint in .work") == 1, said  # one of them speaks

    second = run(project)
    _, said = second.communicate()
    assert second.returncode == 0, said
    assert said.count("pretrain: going on from a checkpoint") == 1
    assert "other surroundings" not in said
    assert (project / "models" / "pretrain" / "encoder.safetensors").exists()
    assert not list(project.glob(".work/*/"))


def test_what_is_refused_is_told_once(project):
    change(project, pretrain={"init": "nowhere.safetensors"})
    process = run(project)
    _, said = process.communicate()
    assert process.returncode not in (0, None)
    assert said.count("error: pretrain.init: 'nowhere.safetensors' does not exist") == 1, said
