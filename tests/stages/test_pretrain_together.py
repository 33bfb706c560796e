"""pretrain with two processes: it has the losses of one process, and survives Ctrl-C and the death of a rank."""

import signal
import subprocess
import sys
import time

import pytest
import safetensors.torch

from benchmarks.loss_curves import curve
from benchmarks.project import change, environment
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.config import Choice
from ssl_pipeline.loading import load_registry
from ssl_pipeline_stages import guarded, launch
from tests.pair import second_rank
from tests.stages.small_pretraining import SMALL, in_process, leave_out_graphs, prepare, products

OURS = ("-m", "ssl_pipeline", "pretrain")
DYING = """
import os
from ssl_pipeline.training.run import Run
from ssl_pipeline_stages.pretrain import pretrain

step, done = Run.step, []

def stepping(self, *args, **options):
    done.append(1)
    if len(done) == 5:
        os.kill(os.getpid(), 9)
    return step(self, *args, **options)

Run.step = stepping
pretrain([])
"""


GIVEN = {"init": "start.safetensors", "freeze_norms": False, "freeze_epochs": 1, "layer_decay": 0.7, "ema": 0.9}
"""Settings that recalibrate batch norms, freeze the backbone for two steps, and ship an average over the others."""


def new_project(folder):
    prepare(folder)
    change(folder, pretrain={"batch_size": 17, "epochs": 5, "precision": "fp32", **GIVEN})  # 17 is odd
    half = (0.5,) * 3
    given = build_encoder(load_registry(), Choice.model_validate(SMALL["backbone"]), half, half, 5, 8)
    safetensors.torch.save_file(given.state_dict(), folder / "start.safetensors")
    return folder


@pytest.fixture
def project(tmp_path):
    return new_project(tmp_path / "project")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Products and losses of an uninterrupted run by two processes."""
    folder = new_project(tmp_path_factory.mktemp("whole") / "project")
    with pytest.MonkeyPatch.context() as patch:
        leave_out_graphs(patch)
        assert by_two(folder, patch)[:2] == (0, 0)
    assert '"ranks": 2' in (folder / "models" / "pretrain" / "model.json").read_text()
    return products(folder), losses(folder)


def by_two(folder, monkeypatch, *words):
    """Run the stage by two ranks, the second one with other words if given; return exit statuses and output."""
    monkeypatch.chdir(folder)
    with second_rank(monkeypatch, *words or OURS) as second:
        status, said = in_process(folder, monkeypatch)
    return status, second.returncode, said


def losses(folder):
    """Return the loss of each step."""
    return [float(loss) for loss in curve(folder / "reports" / "pretrain" / "curves" / "loss.tsv")]


def test_a_rank_that_dies_ends_the_run_which_goes_on_to_the_same_bytes(project, whole, monkeypatch):
    leave_out_graphs(monkeypatch)
    monkeypatch.setattr(guarded, "_PATIENCE_SECONDS", 0.0)
    status, other, said = by_two(project, monkeypatch, "-c", DYING)
    assert (status, other) == (1, -signal.SIGKILL)
    assert "error: Another process of this run has ended early" in said
    assert "The last checkpoint is kept" in said
    status, other, said = by_two(project, monkeypatch)
    assert (status, other) == (0, 0)
    assert said.count("pretrain: resuming from a checkpoint after step 4 of 10") == 1
    assert "different environment" not in said
    assert products(project) == whole[0]


def test_one_process_learns_the_same(project, whole, monkeypatch):
    leave_out_graphs(monkeypatch)
    assert in_process(project, monkeypatch)[0] == 0
    alone, together = losses(project), whole[1]
    assert alone[:4] == pytest.approx(together[:4], rel=1e-5)  # covers batch norms, both recalibrated and learning
    assert alone == pytest.approx(together, rel=1e-3)


def begin(folder):
    return subprocess.Popen(
        [sys.executable, *OURS],
        cwd=folder,
        env=environment(),
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process, status):
    """Wait for the process; return its output, which contains nothing from the launcher."""
    _, said = process.communicate()
    assert process.returncode == status, said
    assert "Traceback" not in said
    assert "torch/distributed" not in said
    return said


def test_ctrl_c_ends_all_that_pretrain_devices_has_started_with_a_checkpoint(project, monkeypatch):
    change(project, pretrain={"devices": 2})
    process, deadline = begin(project), time.monotonic() + 120
    while not list(project.glob(".work/*/checkpoint.pt")):
        assert time.monotonic() < deadline, process.kill() or process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)  # only to the launcher, like `kill`
    said = end(process, 130)
    assert said.count("with a checkpoint in .work") == 1  # only one rank reports it
    change(project, pretrain={"devices": 1})
    leave_out_graphs(monkeypatch)
    status, said = in_process(project, monkeypatch)
    assert status == 0
    assert "The checkpoint was written in a different environment (ranks: 2, now 1)." in said
    assert not list(project.glob(".work/*/"))


def test_what_is_refused_is_told_once(project):
    change(project, pretrain={"devices": 2, "batch_size": 3})
    said = end(begin(project), 1)
    assert said.count("error: pretrain.devices: 2 processes share a batch of 3 images, but each needs at") == 1


@pytest.mark.parametrize(
    ("failures", "rank", "said"),
    [
        (
            {0: (-15, 7), 2: (-9, 7), 3: (1, 7)},
            2,
            "error: rank 2 of 4 (counted from 0) was ended by signal SIGKILL, wh",
        ),
        ({0: (-15, 7), 1: (-15, 6), 2: (1, 7)}, 2, "error: rank 2 of 4 (counted from 0) ended with exit status 1"),
        ({0: (2, 7), 1: (-15, 7)}, 0, ""),  # this rank has reported its error itself
    ],
)
def test_it_is_told_which_rank_has_failed_first(failures, rank, said, capsys):
    assert launch._first(failures) == (rank, failures[rank][0])
    launch._tell(rank, 4, failures[rank][0])
    assert capsys.readouterr().err.startswith(said)
    assert bool(said) or not capsys.readouterr().err
