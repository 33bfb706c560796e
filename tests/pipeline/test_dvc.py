"""The pipeline under DVC: its products, its dependency graph, and which stages an edit runs again."""

import contextlib
import importlib
import itertools
import json
import re
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from dvc.repo import Repo

from benchmarks.project import ROOT, change, copy_code, copy_project
from ssl_pipeline_stages import STAGES
from ssl_pipeline_stages.main import main
from tests.pipeline.conftest import command

PRODUCTS = [
    *(f"{stage.outputs[0]}/{name}" for stage in STAGES.values() for name in stage.graphs),
    "data/ingested/manifest.json",
    "data/ingested/rejects.csv",
    "data/augmented/policy.json",
    "data/augmented/preview.png",
    "data/ingested/store/index.csv",
    "data/ingested/store/labels.npz",
    "models/pretrain/encoder.safetensors",
    "models/pretrain/model.json",
    "reports/ingest/details.json",
    "reports/pretrain/details.json",
    "reports/pretrain/metrics.json",
    "reports/pretrain/pictures/curves.png",
    "reports/export/details.json",
    "reports/export/metrics.json",
    "reports/curate/details.json",
    "reports/curate/images.csv",
    "reports/curate/metrics.json",
    "reports/curate/pictures/outliers.png",
    "reports/linear_eval/details.json",
    "reports/linear_eval/metrics.json",
    "reports/linear_eval/clusters.csv",
    "reports/linear_eval/pictures/clusters.png",
    "reports/finetune/details.json",
    "reports/finetune/metrics.json",
    "reports/finetune/verdict.txt",
    "reports/index.html",
]


def ran(output: str) -> list[str]:
    return re.findall(r"Running stage '(\w+)'", output)


def test_every_product_lies_where_people_look_for_it(finished: Path):
    assert [name for name in PRODUCTS if not (finished / name).is_file()] == []
    work = finished / ".work"
    assert {path.name for path in work.iterdir()} == {"hashes.sqlite", "ingest", "lock", "plugins.json"}
    assert not list((work / "ingest").iterdir())  # would hold only the remains of a killed run


@pytest.mark.parametrize("path", [name for name in PRODUCTS if name.endswith(".onnx")])
def test_every_graph_is_valid_whole_and_says_what_it_is(finished: Path, path: str):
    model = onnx.load(finished / path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert str(finished) not in str(model)
    assert {item.key for item in model.metadata_props}


def test_the_backbone_runs_with_onnxruntime_and_nothing_of_ours(finished: Path):
    session = onnxruntime.InferenceSession(finished / "models/export/backbone.onnx", providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 25, 3), dtype=np.uint8)
    (embedding,) = session.run(["embedding"], {"images": images})
    assert embedding.shape == (3, 64)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, rtol=1e-5)


def test_the_page_has_all_its_sections(finished: Path):
    page = (finished / "reports/index.html").read_text(encoding="utf-8")
    sections = re.findall(r'<section id="([\w-]+)"', page)
    assert sections[:5] == ["verdict", "data", "views", "training", "map-section"]
    assert sections[-6:] == ["clusters", "curation", "confusion", "budgets", "ships", "repeat"]


def changed(project: Path) -> set[str]:
    """Return the stages that `dvc repro` would run, except inventory, which always runs and notices edits of code."""
    with contextlib.chdir(project), Repo() as repo:  # like `dvc status`, which would import dvc each time
        status = repo.status()
    assert status.pop("inventory") == ["always changed"]
    return set(status)


def test_editing_a_later_section_runs_no_earlier_stage(project: Path):
    change(project, linear_eval={"bootstrap": 120})
    assert changed(project) == {"linear_eval", "report"}
    change(project, export={"layer": 2})
    assert changed(project) == {"export", "linear_eval", "report"}
    change(project, pretrain={"epochs": 2})
    assert changed(project) == {"pretrain", "export", "linear_eval", "report"}


def test_an_edit_runs_the_stages_that_reach_it(project: Path, tmp_path: Path):
    def edit(*paths: str) -> None:
        for path in paths:
            with (tmp_path / "code" / path).open("a") as file:
                file.write("# a comment\n")

    run = command(project, PYTHONPATH=copy_code(tmp_path / "code"))
    # a loss and a comment in a recipe that this run does not use, and a module that only prints
    edit(
        "ssl_pipeline_plugins/losses/vicreg.py",
        "ssl_pipeline_plugins/recipes/simclr.yaml",
        "ssl_pipeline/terminal.py",
    )
    assert ran(run("dvc", "repro").stdout) == ["inventory"]
    edit("ssl_pipeline/evaluation/linear_probe.py")
    assert ran(run("dvc", "repro", "export").stdout) == ["inventory"]
    assert changed(project) == {"curate", "linear_eval", "finetune"}
    edit("ssl_pipeline_plugins/losses/info_nce.py")
    run("dvc", "repro", "-q", "inventory")
    assert changed(project) == {"pretrain", "export", "curate", "linear_eval", "finetune"}


def test_the_stages_stand_in_order_and_the_graph_has_their_arrows(finished: Path):
    dot = command(finished)("dvc", "dag", "--dot").stdout
    arrows = set(re.findall(r'"(\w+)" -> "(\w+)"', dot))
    wanted = {
        (earlier, later)
        for (earlier, one), (later, other) in itertools.combinations(STAGES.items(), 2)
        if any(Path(path).is_relative_to(made) for path in other.inputs for made in one.outputs)
    }
    assert set(STAGES) == {name for arrow in wanted for name in arrow}
    assert wanted <= arrows


def test_metrics_plots_and_params_are_worth_reading(project: Path):
    run = command(project)
    metrics = run("dvc", "metrics", "show").stdout
    for name in ("reports/pretrain/metrics.json", "reports/linear_eval/metrics.json", "accuracy"):
        assert name in metrics
    run("dvc", "plots", "show")
    page = (project / "dvc_plots" / "index.html").read_text()
    assert "reports/pretrain/curves" in page
    change(project, pretrain={"epochs": 7})
    assert re.search(r"pretrain.epochs\s+3\s+7", run("dvc", "params", "diff").stdout)


def test_the_metrics_are_few_and_git_keeps_them_and_nothing_else_of_the_reports(project: Path):
    run = command(project)
    shown = json.loads(run("dvc", "metrics", "show", "--json").stdout)
    figures = [name for told in shown[""]["data"].values() for name in told["data"]]
    assert 8 <= len(set(figures)) == len(figures) <= 12
    run("git", "add", ".")
    kept = run("git", "ls-files", "reports", "models", "data").stdout.split()
    assert kept == [
        f"reports/{stage}/metrics.json" for stage in ("curate", "export", "finetune", "linear_eval", "pretrain")
    ]


@pytest.mark.parametrize("stage", list(STAGES)[2:])
def test_a_stage_out_of_order_says_which_comes_first(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(getattr(importlib.import_module(f"ssl_pipeline_stages.{stage}"), stage), [])
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)  # not a traceback
    earlier = list(STAGES)[1 : list(STAGES).index(stage)]
    assert any(f"dvc repro {name}" in done.output for name in earlier), done.output


def test_a_mistake_in_params_is_one_message_without_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copy_project(tmp_path)
    change(tmp_path, pretrain={"epoch": 3})
    message = "error: params.yaml: pretrain.epoch: unknown key. Did you mean 'epochs'?"
    done = command(tmp_path)("python", "-m", "ssl_pipeline", "inventory", status=2)
    assert done.stderr.strip() == message
    monkeypatch.chdir(tmp_path)
    for stage in STAGES:
        invoked = CliRunner().invoke(main, [stage])
        assert (invoked.exit_code, invoked.stderr.strip()) == (2, message)
        assert isinstance(invoked.exception, SystemExit)
