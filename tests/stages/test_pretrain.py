"""The stage as a process: killed in every way, it ends with the same bytes; and it reads no label and no test image."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from sklearn.datasets import load_digits

from benchmarks.project import ROOT, change, copy_project, environment
from ssl_pipeline.config import load
from ssl_pipeline.data.framing import Framing, write_framing
from ssl_pipeline.data.store import Original
from ssl_pipeline.data.writer import write_originals, write_split
from ssl_pipeline.deployment import pretext_graph, rehearsal
from ssl_pipeline.products import read_json, read_product, sha256, write_product
from ssl_pipeline.randomness import hash64
from ssl_pipeline_stages.export import export
from ssl_pipeline_stages.pretrain import pretrain
from tests.factories import digit_images

DIE = "os.kill(os.getpid(), signal.SIGKILL)"
SMALL = {
    "backbone": {"name": "resnet_cifar", "depth": 8, "width": 4},
    "epochs": 10,
    "warmup": 0.1,
    "batch_size": 16,
    "checkpoint_minutes": 0.0,
    "collapse": {"min_embedding_std": 0.0, "min_effective_rank": 0.0},
}
VIEW = {"size": 8, "random_resized_crop": {"p": 1.0, "scale": [0.5, 1.0], "ratio": [0.8, 1.25]}}


def write_store(store: Path) -> None:
    """48 digits to learn from, 16 for either other split, and an index with their labels."""
    images, labels = digit_images(80), load_digits().target
    for name, rows in {"train": range(48), "val": range(48, 64), "test": range(64, 80)}.items():
        ids = np.sort(hash64("digit", np.array(rows)))
        write_split(store / name, ids, [images[list(rows)]], 8)
        facts = read_product(store / name / "split.json", "ingest")
        write_product(store / name / "split.json", facts | {"sha256": f"digits {rows}"})
    (store / "index.csv").write_text("id,label\n" + "".join(f"{n},{labels[n]}\n" for n in range(80)))


def prepare(folder):
    """The project with the products of `ingest` and `augment`, ready for `pretrain`."""
    copy_project(folder)
    change(folder, pretrain=SMALL)
    store = folder / "data" / "ingested" / "store"
    write_store(store)
    write_framing(store, Framing(8, "squash", (0, 0, 0)))
    write_product(folder / "data" / "augmented" / "policy.json", {"seed": 0, "views": {"global": VIEW}})
    return folder


@pytest.fixture
def project(tmp_path):
    return prepare(tmp_path / "project")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a run leaves that nobody disturbed."""
    folder = prepare(tmp_path_factory.mktemp("undisturbed") / "project")
    run(folder)
    return products(folder)


NO_GRAPH = (
    "import ssl_pipeline.deployment.pretext_graph as s; s.write_pretext_graph = lambda *a: None\n"
    "import ssl_pipeline.deployment.rehearsal as r; r.rehearse = lambda *a: None"
)
"""A patch that saves the eight seconds of each export where graphs are not what is looked at."""


@pytest.fixture
def without_graphs(monkeypatch):
    """The same within this process."""
    monkeypatch.setattr(pretext_graph, "write_pretext_graph", lambda *_: None)
    monkeypatch.setattr(rehearsal, "rehearse", lambda *_: None)


def run(folder, patch=NO_GRAPH, status=0):
    """Run the stage in a process of its own, under a patch that may kill it; return what it said."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os, signal\n{patch}\nfrom ssl_pipeline_stages.pretrain import pretrain; pretrain()",
        ],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stderr


def products(folder):
    """Relative path -> SHA-256 of every file that the stage makes, but for the graph."""
    roots = (folder / "models" / "pretrain", folder / "reports" / "pretrain")
    files = (path for root in roots for path in root.rglob("*") if path.is_file() and path.suffix != ".onnx")
    return {str(path.relative_to(folder)): sha256(path) for path in files}


def until(condition, within=60.0):
    """Wait for something to become true."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
    return found


def test_killed_at_the_worst_moments_it_ends_with_the_same_bytes(project, undisturbed):
    """While a checkpoint is written; by Ctrl-C; between a checkpoint's two renames; when half of the products are there."""
    fsync = f"{NO_GRAPH}\nreal, calls = os.fsync, []\n"
    fsync += "mine = lambda file: os.readlink(f'/proc/self/fd/{file}').endswith('checkpoint.tmp')\n"
    fsync += f"os.fsync = lambda file: (calls.append(mine(file)), {DIE} if sum(calls) == 6 else real(file))"
    run(project, fsync, -signal.SIGKILL)  # while the sixth is written, whatever else is synced meanwhile
    (work,) = project.glob(".work/*/")
    assert (work / "checkpoint.tmp").exists()

    interrupt = "from ssl_pipeline.training.run import Run\nreal = Run.step\n"
    interrupt += "Run.step = lambda *a, **k: (os.kill(os.getpid(), signal.SIGINT), real(*a, **k))[1]"
    said = run(project, interrupt, 130)
    assert "going on from a checkpoint, after step 5 of 30" in said
    assert "stopped after step 6 of 30, with a checkpoint in .work" in said
    assert "Run `dvc repro` again to go on" in said
    loss = (project / "reports" / "pretrain" / "curves" / "loss.tsv").read_text().splitlines()  # it has grown so far
    assert [line.partition("\t")[0] for line in loss] == ["step", *"123456"]

    rename = "from pathlib import Path\nreal = Path.replace\n"
    rename += f"Path.replace = lambda self, to: (real(self, to), to.name == 'checkpoint.previous.pt' and {DIE})[0]"
    assert "after step 6 of 30" in run(project, rename, -signal.SIGKILL)
    assert not (work / "checkpoint.pt").exists()

    half = f"{NO_GRAPH}\nimport ssl_pipeline.training.saving as c; c.write_curves = lambda *a: {DIE}"
    assert "after step 6 of 30" in run(project, half, -signal.SIGKILL)
    grown = ("models", "reports/pretrain/curves")
    assert products(project).keys() == {name for name in undisturbed if name.startswith(grown)}

    assert "after step 30 of 30" in run(project)
    assert products(project) == undisturbed
    assert not list(project.glob(".work/*/"))


def test_killed_under_dvc_it_ends_with_the_same_bytes(project, undisturbed):
    """The stage alone, dvc alone, the whole group, and each time `dvc repro` is run again at once."""
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    alone = ["dvc", "repro", "-q", "--single-item"]
    subprocess.run([*alone, "inventory"], cwd=project, env=environment(), check=True)  # says which code pretrain has
    words = [*alone, "pretrain"]
    for victim in ("stage", "dvc", "group", None):
        before = newest(project)
        dvc = subprocess.Popen(
            words, cwd=project, env=environment(), start_new_session=True, stderr=subprocess.PIPE, text=True
        )
        if victim:
            until(lambda before=before: newest(project) > before)
            kill(dvc, victim)
        _, said = dvc.communicate()
        assert ("going on from a checkpoint" in said) == (before > 0), said
    assert dvc.returncode == 0, said
    assert (project / "models" / "pretrain" / "pretext.onnx").exists()
    assert products(project) == undisturbed


def newest(project):
    """When the last checkpoint was written, 0 if there is none."""
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
    (store / "index.csv").write_bytes(noise.bytes(999))
    assert garbage == 4
    status, said = in_process(project, monkeypatch)
    assert status == 0, said
    assert products(project) == undisturbed


@pytest.mark.slow
def test_with_the_local_views_of_the_example_in_params_yaml_it_leads_to_an_export(project, monkeypatch, without_graphs):
    """The comment is made a setting: views of two sizes, and what leaves training is of the first kind's."""
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


def in_process(folder, monkeypatch):
    """The command within this process: its exit status and what it said."""
    monkeypatch.chdir(folder)
    result = CliRunner().invoke(pretrain, [])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


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
