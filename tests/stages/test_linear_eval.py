"""The stage linear_eval as a command, on a small store of real digits and an exported backbone."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import yaml
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, balanced_accuracy_score, recall_score

from ssl_pipeline.data.labels import read_labels
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.evaluation import report
from ssl_pipeline.evaluation.linear import probe_file, study
from ssl_pipeline.products import record, sha256
from tests.stages.small_project import REPORTS, STORE, Relabel, as_they_are, evaluate, metrics, write_store

PROBE = Path("models/linear_eval/linear_probe.onnx")


def relabelled(relabel: Relabel) -> str:
    write_store(STORE, relabel)
    return evaluate().output


@pytest.fixture
def output(judged: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """Output of the stage in the finished project, which is the current folder; no test may change it."""
    monkeypatch.chdir(judged[0])
    return judged[1]


def test_the_figures_are_those_of_the_predictions_and_the_shipped_file_makes_them(
    output: str, models: Callable[..., Path]
):
    before = sha256(models() / "models/export/backbone.onnx")
    found = metrics()
    with (REPORTS / "confusion.csv").open() as file:
        rows = list(csv.DictReader(file))
    actual, predicted = [row["actual"] for row in rows], [row["predicted"] for row in rows]
    classes, labels, _ = read_labels(STORE, "test")
    assert actual == [classes[label] for label in labels]
    assert found["accuracy"] == pytest.approx(accuracy_score(actual, predicted))
    assert found["negatives"] == {}  # the recipe has no negatives
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(actual, predicted))
    with (REPORTS / "recalls.csv").open() as file:
        recalls = {row["class"]: float(row["recall"]) for row in csv.DictReader(file)}
    expected = dict(zip(classes, recall_score(actual, predicted, average=None), strict=True))
    assert recalls == pytest.approx(expected)

    images = load_digits().data[260:380].reshape(-1, 8, 8, 1)
    pixels = np.repeat((images * 15.9).astype(np.uint8), 3, axis=3)
    probabilities = run(open_session(PROBE), pixels)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert [classes[n] for n in probabilities.argmax(axis=1)] == predicted

    metadata = {entry.key: entry.value for entry in onnx.load(PROBE).metadata_props}
    assert json.loads(metadata["classes"]) == list(classes)
    assert (
        metadata["backbone_sha256"] == found["backbone_sha256"] == before == sha256(Path("models/export/backbone.onnx"))
    )
    assert (REPORTS / "pictures/confusion.png").stat().st_size > 5000
    assert f"linear probe {100 * found['accuracy']:.1f}%" in output
    assert "120 test images" in output


def test_everything_stands_beside_the_probe(output: str):
    found = metrics()
    baselines = ("random_encoder", "random_encoder_uncalibrated", "raw_pixels", "colour_histogram")
    for name in (*baselines, "knn"):
        assert 0 <= found[name]["accuracy_low"] <= found[name]["accuracy"] <= found[name]["accuracy_high"] <= 1
    for name in baselines:
        gain = found[f"gain_over_{name}"]
        assert gain["accuracy"] == pytest.approx(found["accuracy"] - found[name]["accuracy"])
        assert gain["accuracy_low"] <= gain["accuracy"] <= gain["accuracy_high"]
        assert found[name]["converged"] is True
    assert found["raw_pixels"]["accuracy"] > 0.8
    assert found["random_encoder"]["best_of"] == found["random_encoder_uncalibrated"]["best_of"] == 2
    # the pretrained model is itself an untrained network, with the first of the seeds
    assert found["gain_over_random_encoder_uncalibrated"]["accuracy"] <= 0
    lines = [line.split("%")[0].rstrip("0123456789.").strip() for line in output.splitlines()[1:]]
    assert lines[:5] == [*(name.replace("_", " ") for name in baselines), "kNN on the backbone's embeddings"]
    assert "linear_eval: clusters" in lines[5]
    assert found["random_encoder"]["accuracy"] > found["colour_histogram"]["accuracy"]
    assert (found["knn"]["k"], found["knn"]["temperature"]) == (20, 0.07)
    assert found["labels"] == {"classes": 10, "train": 200, "val": 60, "test": 120, "test_groups": 120}
    assert found["spread"]["images"] == 200


def test_clusters_are_told_drawn_and_tabled(output: str):
    found = metrics()["clusters"]
    assert (found["images"], found["labelled"], found["view"]) == (260, 260, "plain")  # training and validation only
    with (REPORTS / "clusters.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["k"]) for row in rows][-1] == 40
    best = next(row for row in rows if int(row["k"]) == found["k_star"])
    assert float(best["stability"]) == found["stability"]
    assert float(best["homogeneity"]) == found["at_k_star"]["homogeneity"]
    assert found["energy"]["intra"]["mean"] < found["energy"]["inter"]["mean"]
    assert 0.5 < found["energy"]["auroc"] < 1
    assert found["verdict"] == "under-clustered"  # an untrained network separates some digits, but not all
    assert "linear_eval: clusters are under-clustered" in output
    assert {path.name for path in (REPORTS / "pictures").iterdir()} == {"confusion.png", "clusters.png"}


@pytest.mark.usefixtures("project")
def test_an_unknown_kind_of_view_is_named():
    params = yaml.safe_load(Path("params.yaml").read_text())
    params["linear_eval"]["clusters"]["view"] = "plan"
    Path("params.yaml").write_text(yaml.safe_dump(params))
    assert (
        "linear_eval.clusters.view: no such kind in augment.views: 'plan'. Did you mean 'plain'?" in evaluate(2).output
    )


@pytest.mark.usefixtures("once_more")
def test_shuffled_test_labels_change_neither_the_choice_nor_the_product():
    honest, product = metrics(), PROBE.read_bytes()

    def shuffled(split: str, labels: npt.NDArray[np.int64]) -> list[str]:
        return as_they_are(split, np.random.default_rng(0).permutation(labels) if split == "test" else labels)

    PROBE.unlink()
    relabelled(shuffled)
    found = metrics()
    assert PROBE.read_bytes() == product
    assert found["accuracy"] < 0.3 < honest["accuracy"]
    assert found["clusters"] == honest["clusters"]
    for part in ({}, "random_encoder", "raw_pixels", "colour_histogram"):
        for choice in ("strength", "validation_accuracy"):
            assert (found[part] if part else found)[choice] == (honest[part] if part else honest)[choice]


@pytest.mark.usefixtures("once_more")
def test_twice_the_same_bytes():
    first = {path: path.read_bytes() for path in [PROBE, *REPORTS.rglob("*.*")] if path.is_file()}
    for path in first:
        path.unlink()
    evaluate()
    assert {path: path.read_bytes() for path in first} == first


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("label", "classes", "reason"), [("", 0, "no training image has a label"), ("digit 3", 1, "name only 'digit 3'")]
)
def test_without_labels_to_tell_apart_the_pipeline_goes_on(judged, label, classes, reason):
    shutil.copytree(judged[0] / "models", "models", dirs_exist_ok=True)  # an old probe must be removed
    output = relabelled(lambda split, labels: [label] * len(labels))
    assert output.count("\n") == 2
    assert "no verdict: fewer than two classes have labels" in output
    assert (found_k := metrics()["clusters"]["k_star"]) >= 2
    assert f"k* = {found_k}" in output
    assert reason in output
    assert not PROBE.exists()
    assert reason in json.loads(Path("models/linear_eval/no_probe.json").read_text())["reason"]
    found = metrics()
    assert reason in found["no_probe"]
    assert found["labels"]["classes"] == classes
    assert found["backbone_sha256"] == sha256(Path("models/export/backbone.onnx"))
    assert 1 <= found["spread"]["effective_rank"] <= 16
    assert -4.1 < found["spread"]["uniformity"] <= 0
    assert 0 < found["spread"]["embedding_std"] <= 1
    assert "accuracy" not in found
    assert (REPORTS / "confusion.csv").read_text() == "actual,predicted\n"
    assert (REPORTS / "pictures").is_dir()


@pytest.mark.usefixtures("project")
def test_labels_few_and_uneven():
    """The pool has few labels; one class occurs only in the test split, and another is missing from training."""

    def few(split: str, labels: npt.NDArray[np.int64]) -> list[str]:
        names = as_they_are(split, labels)
        unknown = {"train": [8, 9], "val": [9], "test": []}[split]
        kept = 25 if split == "train" else len(names)
        return [name if row < kept and labels[row] not in unknown else "" for row, name in enumerate(names)]

    relabelled(few)
    found = metrics()
    assert found["labels"]["train"] < 25
    assert 0.2 < found["accuracy"] < 0.9
    predicted = {line.split(",")[1] for line in (REPORTS / "confusion.csv").read_text().splitlines()}
    assert "digit 9" not in predicted
    with (REPORTS / "recalls.csv").open() as file:
        assert {row["class"]: row["recall"] for row in csv.DictReader(file)}["digit 9"] == "0.0"


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("empty", ["val", "test"])
def test_a_split_without_labels(empty):
    output = relabelled(lambda split, labels: [""] * len(labels) if split == empty else as_they_are(split, labels))
    found = metrics()
    assert PROBE.exists()
    assert found["labels"][empty] == 0
    if empty == "test":
        assert "no test image has a label" in output
        assert "accuracy" not in found
        assert json.loads(Path("reports/linear_eval/metrics.json").read_text()) == {}
        assert found["validation_accuracy"] > 0.3
    else:
        assert found["strength"] == 0.01
        assert "validation_accuracy" not in found
        assert found["accuracy"] > 0.3


@pytest.mark.usefixtures("project")
def test_a_graph_that_disagrees_with_its_probe_is_not_shipped(monkeypatch: pytest.MonkeyPatch):
    original = probe_file.append_classifier
    monkeypatch.setattr(probe_file, "append_classifier", lambda b, weight, *rest: original(b, weight * 1.1, *rest))
    assert "linear_probe.onnx does not compute what the probe computes" in evaluate(1).output
    assert not PROBE.exists()


@pytest.mark.usefixtures("project")
def test_a_run_that_is_interrupted_while_it_writes_leaves_probe_and_reports_of_the_last_one(monkeypatch):
    for folder in (Path("models/linear_eval"), REPORTS):
        folder.mkdir(parents=True)
        (folder / "of_the_last_run.txt").write_text("kept")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "write_json", interrupted)  # while tables and pictures are written
    evaluate(status=130)
    left = [path for parent in ("models", "reports") for path in Path(parent).glob("*linear_eval*/**/*.*")]
    assert [path.name for path in left] == ["of_the_last_run.txt"] * 2


@pytest.mark.usefixtures("project")
def test_a_file_that_changes_meanwhile_is_noticed(monkeypatch: pytest.MonkeyPatch):
    backbone, original = Path("models/export/backbone.onnx"), study.predict

    def meddle(*arguments):
        backbone.write_bytes(backbone.read_bytes() + b"\0")
        return original(*arguments)

    monkeypatch.setattr(study, "predict", meddle)
    assert "changed during its evaluation" in evaluate(1).output
    assert not (REPORTS / "details.json").exists()


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("missing", "maker"),
    [
        ("models/export", "export"),
        ("data/augmented/policy.json", "augment"),
        ("data/ingested/store", "ingest"),
        ("models/pretrain", "pretrain"),
    ],
)
def test_out_of_order(missing, maker):
    shutil.move(missing, "elsewhere")
    output = evaluate(1).output
    assert "does not exist" in output
    assert f"dvc repro {maker}" in output


@pytest.mark.usefixtures("project")
def test_a_solver_that_does_not_converge_is_reported(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("ssl_pipeline.evaluation.linear_probe._MAX_ITERATIONS", 2)
    assert "stopped before the optimum for raw_pixels" in evaluate().output
    assert metrics()["converged"] is False


def test_variants_that_ship_are_measured_beside_the_backbone(project: Path):
    backbone, int8 = (Path("models/export") / name for name in ("backbone.onnx", "backbone_int8.onnx"))
    shutil.copy(backbone, int8)
    record(int8)
    output = evaluate().output
    found = metrics()["variants"]
    assert found["files"].keys() == {"fp32", "int8"}
    assert found["files"]["int8"]["difference"]["knn"]["accuracy"] == 0  # it is the same graph
    assert found["files"]["int8"]["difference"]["accuracy"] == 0
    assert found["files"]["int8"]["knn"]["accuracy"] == metrics()["knn"]["accuracy"]
    assert found["torch"]["1"]["of_torch"] == 1
    assert "gain_over_int8" not in metrics()
    assert f"  recommended: {found['recommended']} (" in output
    assert (REPORTS / "pictures/variants.png").stat().st_size > 5000
    with int8.open("ab") as file:
        file.write(b"0")
    assert "backbone_int8.onnx is damaged" in evaluate(status=1).output
