"""linear_eval with a middle layer that ships, and its findings on the other layers."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ssl_pipeline.data.store import Split
from ssl_pipeline.evaluation.linear import study
from tests.stages.small_project import (
    QUICK_CLUSTERS,
    STORE,
    as_they_are,
    evaluate,
    metrics,
    write_project,
    write_store,
)


@pytest.fixture(scope="module")
def middle(models: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The project after linear_eval if layer 2 ships, and the output of the stage."""
    folder = tmp_path_factory.mktemp("middle")
    shutil.copytree(models(2), folder, dirs_exist_ok=True)
    write_project(folder, clusters=QUICK_CLUSTERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(study, "RANDOM_DRAWS", 1)
        return folder, evaluate().output


@pytest.fixture(autouse=True)
def elsewhere(middle: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy of that project, which is the current folder."""
    shutil.copytree(middle[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "RANDOM_DRAWS", 1)


def test_all_that_is_measured_is_of_the_layer_that_ships(middle: tuple[Path, str]):
    found, output = metrics(), middle[1]
    # the pretrained encoder equals the random one of seed 0, so that the same layer of both has the same accuracy
    assert found["gain_over_random_encoder_uncalibrated"]["accuracy"] == 0.0
    accuracies = {one["layer"]: one["validation_accuracy"] for one in found["layers"]}
    assert list(accuracies) == [1, 2, 3, "last"]
    assert [one["dim"] for one in found["layers"]] == [4, 8, 16, 16]
    assert accuracies[2] == pytest.approx(found["validation_accuracy"], abs=1 / 60)  # of torch, and of the file
    assert accuracies[3] == accuracies["last"]
    assert accuracies[found["best_layer"]] == max(accuracies.values())
    (line,) = [line for line in output.splitlines() if "on validation (" in line]
    assert line.startswith("linear_eval: ")
    assert "layer 2 of 3" in line


def test_the_layers_are_judged_before_a_test_image_is_looked_at(monkeypatch: pytest.MonkeyPatch):
    original, judged = study.study_layers, []

    def noted(*arguments):
        judged.append(original(*arguments))
        return judged[-1]

    def looked_at(split, positions):
        assert split.name != "test" or judged
        return images(split, positions)

    def shuffled(split: str, labels: np.ndarray) -> list[str]:
        return as_they_are(split, np.random.default_rng(0).permutation(labels) if split == "test" else labels)

    honest, images = metrics(), Split.images
    monkeypatch.setattr(study, "study_layers", noted)
    monkeypatch.setattr(Split, "images", looked_at)
    write_store(STORE, shuffled)
    evaluate()
    found = metrics()
    assert judged
    assert found["accuracy"] < honest["accuracy"]
    assert [found[key] for key in ("layers", "best_layer")] == [honest[key] for key in ("layers", "best_layer")]


def test_without_validation_labels_nothing_is_said_of_layers():
    write_store(STORE, lambda split, labels: [""] * len(labels) if split == "val" else as_they_are(split, labels))
    output, found = evaluate().output, metrics()
    assert found["accuracy"] > 0.2
    assert not {"layers", "best_layer"} & found.keys()
    assert "on validation (" not in output
