"""The stage finetune as a command, on a small store of real digits and an untrained encoder."""

import contextlib
import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from click.testing import Result
from safetensors.torch import load_file

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.files import load_encoder, save_model
from ssl_pipeline.data.labels import read_labels
from ssl_pipeline.data.store import open_split
from ssl_pipeline.deployment.runtime import open_session, read_metadata, run
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.evaluation.budgets import classifier_file
from ssl_pipeline.evaluation.budgets.arms import Learner
from ssl_pipeline.loading import load_registry
from ssl_pipeline.products import write_product
from ssl_pipeline_stages.finetune import finetune
from tests.factories import BACKBONE, MEAN, STD, Relabel, as_they_are, digits_store
from tests.stages.small_project import OPSET, run_stage

REPOSITORY = Path(__file__).parents[2]
SIZES = {"train": 60, "val": 40, "test": 80}
STORE, MODELS, REPORTS = Path("data/ingested/store"), Path("models/finetune"), Path("reports/finetune")
QUICK = {"budgets": [1, "all"], "draws": 2, "learning_rates": [1e-3], "strengths": [1.0], "steps": 2, "epochs": 1}
VIEW = {"size": 8, "random_resized_crop": {"p": 1.0, "scale": [0.7, 1.0], "ratio": [0.85, 1.18]}}


def write_store(relabel: Relabel) -> None:
    digits_store(STORE, SIZES, relabel, originals=8)


def prepare(folder: Path, models: Path) -> None:
    """Turn a folder into the project before the stage."""
    shutil.copytree(models, folder, dirs_exist_ok=True)
    with contextlib.chdir(folder):
        configure()
        write_store(as_they_are)
        write_product(Path("data/augmented/policy.json"), {"seed": 0, "views": {"plain": VIEW}})


@pytest.fixture(scope="module")
def prepared(models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project before the stage finetune."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(folder, models())
    return folder


@pytest.fixture
def project(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def tuned(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The project after the stage, and the output of the stage; no test may change it."""
    folder = tmp_path_factory.mktemp("tuned")
    shutil.copytree(prepared, folder, dirs_exist_ok=True)
    with contextlib.chdir(folder):
        return folder, tune().output


@pytest.fixture(scope="module")
def varied(models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The project after the stage, with layer 2 shipping and an encoder of another seed; no test may change it."""
    folder = tmp_path_factory.mktemp("varied")
    prepare(folder, models(2))
    with contextlib.chdir(folder):
        _, card = load_encoder(load_registry(), Path("models/pretrain"))
        other = build_encoder(load_registry(), BACKBONE, MEAN, STD, 1, 8)
        Path("encoders/seed1").mkdir(parents=True)
        save_model(Path("encoders/seed1"), other, None, card.model_copy(update={"seed": 1}))
        configure(encoders=["encoders/seed1"], budgets=[1])
        return folder, tune().output  # includes the proof of the classifier


def configure(**changes: object) -> None:
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    params["finetune"] |= QUICK | changes
    Path("params.yaml").write_text(yaml.safe_dump(params))


def tune(status: int = 0) -> Result:
    return run_stage(finetune, status)


def test_the_classifier_that_ships_has_the_accuracy_that_is_reported(tuned, monkeypatch):
    folder, output = tuned
    monkeypatch.chdir(folder)
    session = open_session(MODELS / "classifier.onnx")
    metadata = read_metadata(session)
    classes = json.loads(metadata["classes"])
    assert classes == [f"digit {label}" for label in range(10)]
    assert metadata["labels_per_class"] == "all"
    assert onnx.load(MODELS / "classifier.onnx").opset_import[0].version == OPSET
    test = open_split(STORE, "test")
    found = run(session, test.images(np.arange(len(test))))
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    accuracy = (found.argmax(axis=1) == read_labels(STORE, "test").labels).mean()
    with (REPORTS / "label_budget.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["budget"], row["images"], row["draw"]) for row in rows] == [
        ("1", "10", "0"), ("1", "10", "1"), ("all", "60", "0"), ("all", "60", "1"),
    ]  # fmt: skip
    assert accuracy == pytest.approx(float(rows[2]["finetune"]), abs=1e-6)
    figures = json.loads((REPORTS / "details.json").read_text())
    mean = np.mean([float(row["scratch"]) for row in rows[:2]])
    assert figures["budgets"]["1"]["scratch"]["accuracy"] == pytest.approx(mean, abs=1e-6)
    verdict = (REPORTS / "verdict.txt").read_text()
    assert verdict.strip() in output
    assert "With 1 label per class: " in verdict
    assert "With all labels: " in verdict
    assert (REPORTS / "pictures/label_budget.png").stat().st_size > 10_000


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for part in (MODELS, REPORTS) for path in (folder / part).rglob("*.*")}


@pytest.mark.usefixtures("project")
def test_the_product_can_be_rebuilt_and_another_run_writes_the_same_bytes(tuned):
    folder, _ = tuned
    _, card = load_encoder(load_registry(), folder / MODELS)
    assert card.params_sha256 != "0123"
    assert {path.name for path in (folder / MODELS).iterdir()} == {
        "classifier.onnx", "digests.json", "encoder.safetensors", "head.safetensors", "model.json",
    }  # fmt: skip
    tune()
    assert files(Path()) == files(folder)


def test_what_is_fine_tuned_is_the_layer_that_ships(varied, monkeypatch):
    monkeypatch.chdir(varied[0])
    encoder, card = load_encoder(load_registry(), MODELS)
    assert (card.layer, card.embedding_dim) == (2, 8)
    session = open_session(MODELS / "classifier.onnx")
    assert read_metadata(session)["layer"] == "2"
    head = load_file(MODELS / "head.safetensors")
    test = open_split(STORE, "test")
    images = test.images(np.arange(len(test)))
    with torch.no_grad():
        maps = encoder.maps(torch.from_numpy(images).permute(0, 3, 1, 2) / 255)[1]
        expected = (maps.mean(dim=(2, 3)) @ head["weight"].T + head["bias"]).softmax(dim=1).numpy()
    np.testing.assert_allclose(run(session, images), expected, atol=1e-5)


@pytest.mark.usefixtures("project")
def test_a_classifier_that_fails_its_proof_is_not_kept(monkeypatch):
    def refuse(*_: object) -> None:
        raise PipelineError("classifier.onnx is not what was trained")

    monkeypatch.setattr(classifier_file, "verify", refuse)
    assert "is not what was trained" in tune(status=1).output
    assert not MODELS.exists()
    assert [path.name for path in MODELS.parent.iterdir() if "finetune" in path.name] == []


@pytest.mark.usefixtures("project")
def test_a_run_that_is_interrupted_leaves_model_and_reports_of_the_last_one(monkeypatch):
    for folder in (MODELS, REPORTS):
        folder.mkdir(parents=True)
        (folder / "of_the_last_run.txt").write_text("kept")
    train, proved = Learner._train, []

    def training(*given: Any, **options: Any) -> Any:
        if proved:  # the classifier is written, and other models are still to be trained
            raise KeyboardInterrupt
        return train(*given, **options)

    monkeypatch.setattr(classifier_file, "verify", lambda path, *_: proved.append(path))
    monkeypatch.setattr(Learner, "_train", training)
    tune(status=130)
    assert [path.name for path in proved] == ["classifier.onnx"]
    assert files(Path()) == {"of_the_last_run.txt": b"kept"}
    assert not [path for parent in (MODELS.parent, REPORTS.parent) for path in parent.glob(".*")]


@pytest.mark.parametrize(
    ("relabel", "reason"),
    [
        (lambda split, labels: [""] * len(labels), "no image has a label"),
        (lambda split, labels: ["same"] * len(labels), "every label is 'same', so there is nothing to distinguish"),
        (
            lambda split, labels: [""] * len(labels) if split == "test" else as_they_are(split, labels),
            "the number of labelled test images is 0",
        ),
    ],
    ids=["no labels", "one class", "no test"],
)
@pytest.mark.usefixtures("project")
def test_where_nothing_can_be_compared_one_line_says_why_and_the_pipeline_goes_on(relabel, reason):
    write_store(relabel)
    output = tune().output
    assert output.startswith("Whether pretraining helped was not measured, because ")
    assert reason in output
    assert len(output.splitlines()) == 1
    assert json.loads((REPORTS / "details.json").read_text()) == {"labelled": False}
    assert [path.name for path in MODELS.iterdir()] == ["no_classifier.json"]
    assert reason in json.loads((MODELS / "no_classifier.json").read_text())["reason"]
    assert (REPORTS / "verdict.txt").read_text() == output
    assert len((REPORTS / "label_budget.csv").read_text().splitlines()) == 1
    assert (REPORTS / "pictures" / "no_pictures.txt").read_text() == output  # dvc warns of a folder without files


@pytest.mark.usefixtures("project")
def test_an_unknown_kind_of_view_is_one_message():
    configure(view="plane")
    message = "error: params.yaml: finetune.view: no such kind in augment.views: 'plane'. Did you mean 'plain'?\n"
    assert tune(status=2).output == message


@pytest.mark.parametrize(
    ("missing", "stage"),
    [("data/ingested/store", "ingest"), ("models/pretrain", "pretrain"), ("models/export", "export")],
)
def test_what_is_missing_is_said_with_the_stage_that_makes_it(project: Path, missing: str, stage: str):
    shutil.rmtree(project / missing)
    assert f"dvc repro {stage}" in tune(status=1).output


def test_encoders_of_other_seeds_are_tuned_beside_the_one_that_ships(varied, monkeypatch):
    folder, output = varied
    monkeypatch.chdir(folder)
    assert "means of 2 encoders" in output
    with (REPORTS / "label_budget.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["encoder"], row["draw"]) for row in rows] == [("0", "0"), ("0", "1"), ("1", "0"), ("1", "1")]
    assert all(row["finetune"] for row in rows)
    assert [bool(row["random"]) for row in rows] == [True, True, False, False]


@pytest.mark.usefixtures("project")
def test_an_encoder_that_is_not_there_is_one_message_before_anything_is_trained():
    configure(encoders=["encoders/seed1"])
    output = tune(status=2).output
    assert output.startswith("error: finetune.encoders: 'encoders/seed1' has no model.json and no encoder.safetensors.")
    assert not MODELS.exists()
