"""linear_eval where a middle layer ships, and what it says of the others."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from ssl_pipeline.augment.policy import Policies, Policy
from ssl_pipeline.data.store import Split
from ssl_pipeline.evaluation.linear import study
from ssl_pipeline.products import write_product
from ssl_pipeline_stages.linear_eval import linear_eval
from tests.stages.small_project import as_they_are, write_models, write_store

POLICIES = Policies(seed=0, views={"plain": Policy(size=8)})
REPOSITORY, STORE = Path(__file__).parents[2], Path("data/ingested/store")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["linear_eval"] |= {"strengths": [0.01, 1.0], "bootstrap": 100}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    write_store(STORE, as_they_are)
    write_product(Path("data/augmented/policy.json"), POLICIES.model_dump(mode="json"))
    write_models(Path(), layer=2)
    monkeypatch.setattr(study, "RANDOM_DRAWS", 1)


def evaluate() -> tuple[dict, str]:
    done = CliRunner().invoke(linear_eval, [], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(Path("reports/linear_eval/details.json").read_text()), done.output


def test_all_that_is_measured_is_of_the_layer_that_ships():
    found, output = evaluate()
    # the pretrained encoder is itself the random one of seed 0: the same layer of both has the same accuracy
    assert found["gain_over_random_encoder_uncalibrated"]["accuracy"] == 0.0
    accuracies = {one["layer"]: one["validation_accuracy"] for one in found["layers"]}
    assert list(accuracies) == [1, 2, 3, "last"]
    assert [one["dim"] for one in found["layers"]] == [4, 8, 16, 16]
    assert accuracies[2] == pytest.approx(found["validation_accuracy"], abs=1 / 60)  # torch's, and the file's
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

    images = Split.images
    monkeypatch.setattr(study, "study_layers", noted)
    monkeypatch.setattr(Split, "images", looked_at)
    honest, _ = evaluate()

    def shuffled(split: str, labels: np.ndarray) -> list[str]:
        return as_they_are(split, np.random.default_rng(0).permutation(labels) if split == "test" else labels)

    write_store(STORE, shuffled)
    judged.clear()
    found, _ = evaluate()
    assert found["accuracy"] < honest["accuracy"]
    assert [found[key] for key in ("layers", "best_layer")] == [honest[key] for key in ("layers", "best_layer")]


def test_without_validation_labels_nothing_is_said_of_layers():
    write_store(STORE, lambda split, labels: [""] * len(labels) if split == "val" else as_they_are(split, labels))
    found, output = evaluate()
    assert found["accuracy"] > 0.2
    assert not {"layers", "best_layer"} & found.keys()
    assert "on validation (" not in output
