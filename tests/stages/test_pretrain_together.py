"""pretrain with two processes, started by `pretrain.devices`: Ctrl-C leaves a checkpoint, from which they go on."""

import signal
import subprocess
import sys
import time

import pytest

from benchmarks.project import change, environment
from tests.stages.small_pretraining import prepare, products


@pytest.fixture
def project(tmp_path):
    folder = prepare(tmp_path / "project")
    change(folder, pretrain={"devices": 2, "batch_size": 17, "epochs": 5})  # which two do not divide
    return folder


def begin(folder):
    command = [sys.executable, "-m", "ssl_pipeline", "pretrain"]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), start_new_session=True, stderr=subprocess.PIPE, text=True
    )


def end(process, status):
    """Return what it said, which is nothing of the launcher."""
    _, said = process.communicate()
    assert process.returncode == status, said
    assert "Traceback" not in said
    assert "torch.distributed" not in said
    return said


def test_two_processes_stop_at_ctrl_c_and_go_on_to_the_same_bytes(project):
    whole = end(begin(project), 0)
    assert whole.count("exports to ONNX") == 1  # one of them speaks
    undisturbed = products(project)
    assert '"ranks": 2' in (project / "models" / "pretrain" / "model.json").read_text()

    process, deadline = begin(project), time.monotonic() + 120
    while not list(project.glob(".work/*/checkpoint.pt")):
        assert time.monotonic() < deadline, process.kill() or process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)  # to the launcher alone, as `kill` does
    assert end(process, 130).count("with a checkpoint in .work") == 1
    said = end(begin(project), 0)
    assert said.count("pretrain: going on from a checkpoint") == 1
    assert "other surroundings" not in said
    assert products(project) == undisturbed
    assert not list(project.glob(".work/*/"))


@pytest.mark.parametrize(
    ("values", "status", "message"),
    [
        ({"init": "nowhere.safetensors"}, 2, "error: pretrain.init: 'nowhere.safetensors' does not exist"),
        ({"batch_size": 3}, 1, "error: pretrain.devices: 2 processes share a batch of 3 images, and each needs 2 at"),
    ],
)
def test_what_is_refused_is_told_once(project, values, status, message):
    change(project, pretrain=values)
    assert end(begin(project), status).count(message) == 1
