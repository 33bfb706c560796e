"""The stage pretrain as a process: however it is killed, it ends with equal bytes; it reads no label or test image."""

import contextlib
import os
import shutil
import signal
import subprocess
import time

import numpy as np
import psutil
import pytest
from click.testing import CliRunner

from benchmarks.project import ROOT, change, environment
from ssl_pipeline.config import load
from ssl_pipeline.data.store import Original
from ssl_pipeline.data.writer import write_originals
from ssl_pipeline.products import read_json, write_product
from ssl_pipeline_stages.export import export
from ssl_pipeline_stages.inventory import inventory
from tests.stages.small_pretraining import (
    INTERRUPT,
    NO_GRAPH,
    SMALL,
    in_process,
    leave_out_graphs,
    prepare,
    products,
)
from tests.stages.small_project import run_stage

DIE = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def project(tmp_path):
    return prepare(tmp_path / "project")


@pytest.fixture(scope="module")
def undisturbed(run, tmp_path_factory):
    """Products of a run that nothing interrupted."""
    folder = prepare(tmp_path_factory.mktemp("undisturbed") / "project")
    run(folder)
    return products(folder)


@pytest.fixture
def without_graphs(monkeypatch):
    leave_out_graphs(monkeypatch)


def until(condition, within=60.0):
    """Wait until a condition holds; return its value."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)
    return found


def test_killed_at_the_worst_moments_it_ends_with_the_same_bytes(run, project, undisturbed):
    """It is killed while writing a checkpoint, by Ctrl-C, between a checkpoint's two renames, and amid its products."""
    fsync = f"{NO_GRAPH}real, calls = os.fsync, []\n"
    fsync += "mine = lambda file: os.readlink(f'/proc/self/fd/{file}').endswith('checkpoint.tmp')\n"
    fsync += f"os.fsync = lambda file: (calls.append(mine(file)), {DIE} if sum(calls) == 6 else real(file))"
    run(project, fsync, -signal.SIGKILL)  # killed while the sixth checkpoint is written, whatever else is synced
    (work,) = project.glob(".work/*/")
    assert (work / "checkpoint.tmp").exists()

    said = run(project, INTERRUPT, 130)
    assert "resuming from a checkpoint after step 5 of 30" in said
    assert "stopped after step 6 of 30, with a checkpoint in .work" in said
    assert "Run `dvc repro` again to resume" in said
    loss = (project / "reports" / "pretrain" / "curves" / "loss.tsv").read_text().splitlines()  # the curve so far
    assert [line.partition("\t")[0] for line in loss] == ["step", *"123456"]

    rename = f"{NO_GRAPH}from pathlib import Path\nreal = Path.replace\n"
    rename += f"Path.replace = lambda self, to: (real(self, to), to.name == 'checkpoint.previous.pt' and {DIE})[0]"
    assert "after step 6 of 30" in run(project, rename, -signal.SIGKILL)
    assert not (work / "checkpoint.pt").exists()

    half = f"{NO_GRAPH}import ssl_pipeline.training.saving as c; c.write_curves = lambda *a: {DIE}"
    assert "after step 6 of 30" in run(project, half, -signal.SIGKILL)
    grown = ("models", "reports/pretrain/curves")
    assert products(project).keys() == {name for name in undisturbed if name.startswith(grown)}

    assert "after step 30 of 30" in run(project)
    assert products(project) == undisturbed
    assert not list(project.glob(".work/*/"))


def test_killed_under_dvc_it_ends_with_the_same_bytes(run, project, undisturbed):
    """The stage, dvc or the whole process group is killed, and `dvc repro` is run again at once."""
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    with contextlib.chdir(project):
        run_stage(inventory)  # records the code of pretrain
    run(project, INTERRUPT, 130)  # with a checkpoint, the export is not tried first
    words = ["dvc", "repro", "-q", "--single-item", "pretrain"]
    for victim in ("stage", "dvc", "group", None):
        before = newest(project)
        dvc = subprocess.Popen(
            words, cwd=project, env=environment(), start_new_session=True, stderr=subprocess.PIPE, text=True
        )
        if victim:
            until(lambda before=before: newest(project) > before)
            kill(dvc, victim)
        _, said = dvc.communicate()
        assert "resuming from a checkpoint" in said
    assert dvc.returncode == 0, said
    assert (project / "models" / "pretrain" / "pretext.onnx").exists()
    assert products(project) == undisturbed


def newest(project):
    """Return the time of the last checkpoint in ns, 0 without one."""
    return max((path.stat().st_mtime_ns for path in project.glob(".work/*/checkpoint*.pt")), default=0)


def kill(dvc, victim):
    if victim == "stage":
        psutil.Process(dvc.pid).children(recursive=True)[-1].kill()
    elif victim == "dvc":
        dvc.kill()
    else:
        os.killpg(dvc.pid, signal.SIGKILL)


def test_garbage_labels_and_garbage_test_images_leave_the_encoder_as_it_is(
    project, undisturbed, monkeypatch, without_graphs
):
    store = project / "data" / "ingested" / "store"
    noise = np.random.default_rng(0)
    garbage = 0
    for split in ("val", "test"):
        for path in (store / split).glob("*.npy"):
            path.write_bytes(noise.bytes(999))
            garbage += 1
        (store / split / "split.json").write_text("{")
    (store / "labels.npz").write_bytes(noise.bytes(999))
    assert garbage == 4
    status, said = in_process(project, monkeypatch)
    assert status == 0, said
    assert products(project) == undisturbed


@pytest.mark.slow
def test_with_the_local_views_of_the_example_in_params_yaml_it_leads_to_an_export(project, monkeypatch, without_graphs):
    """With the commented example made a setting, views have two sizes, and the exported backbone is for the first."""
    params = (
        (ROOT / "params.yaml").read_text().replace("    # tiles:", "    tiles:").replace("    # local:", "    local:")
    )
    (project / "params.yaml").write_text(params.replace("    #   ", "      "))
    views = load(project / "params.yaml").augment.model_dump(mode="json")["views"]
    assert (views["global"]["size"], views["local"]["size"]) == (16, 8)
    change(project, pretrain={**SMALL, "epochs": 2, "pretext_task": {"local_views": 4}})
    write_product(project / "data" / "augmented" / "policy.json", {"seed": 0, "views": views})
    write_originals(project / "data" / "ingested" / "store", [Original(np.zeros((9, 7, 3), np.uint8), "val", 0)])

    status, said = in_process(project, monkeypatch)
    assert status == 0, said
    card = read_json(project / "models" / "pretrain" / "model.json", "pretrain")
    assert card["size"] == 16
    assert card["recipe"]["pretext_task"]["local_views"] == 4
    done = CliRunner().invoke(export, [])
    assert done.exit_code == 0, done.output
    assert (project / "models" / "export" / "energy.onnx").exists()


def test_values_left_to_the_recipe_are_written_out(project, monkeypatch, without_graphs):
    change(project, pretrain={"epochs": 2, "optimizer": "recipe", "clip_norm": "recipe"})
    status, said = in_process(project, monkeypatch)
    assert status == 0, said
    card = read_json(project / "models" / "pretrain" / "model.json", "pretrain")
    assert (card["pretrain"]["optimizer"]["learning_rate"], card["pretrain"]["epochs"]) == (2e-3, 2)


@pytest.mark.parametrize(
    ("section", "status", "words"),
    [
        ({"precision": "fp16"}, 2, "pretrain.precision: fp16 needs CUDA"),
        ({"recipe": "simclt"}, 2, "Did you mean 'simclr'"),
        ({"init": "no/such.safetensors"}, 2, "pretrain.init: 'no/such.safetensors' does not exist"),
        ({"pretext_task": {"local_views": 2}}, 2, "augment.views.local: missing, but pretext task 'joint_embedding'"),
        ({"init": "pretrained"}, 2, "pretrain.init: backbone 'resnet_cifar' has no published weights"),
        (
            {
                "optimizer": {
                    "name": "adamw",
                    "learning_rate": 1e30,
                    "weight_decay": 0.0,
                    "momentum": 0.9,
                }
            },
            1,
            "learning_rate",
        ),
    ],
)
def test_mistakes_get_one_message_each(project, monkeypatch, without_graphs, section, status, words):
    change(project, pretrain=section)
    found, said = in_process(project, monkeypatch)
    assert found == status, said
    assert words in said
    assert not (project / "models").exists()


def test_run_out_of_order_it_says_which_stage_comes_first(project, monkeypatch):
    shutil.rmtree(project / "data")
    status, said = in_process(project, monkeypatch)
    assert status == 1
    assert "the stage 'augment' makes it" in said
