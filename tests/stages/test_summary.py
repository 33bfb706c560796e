"""The summary: the results of the last run in a few lines, or the name of a damaged product."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from ssl_pipeline_stages.summary import summary

ACCURACY = {"accuracy": 0.9, "accuracy_low": 0.85, "accuracy_high": 0.94}


CURATED = {"near_duplicates": {"images": 3, "pairs_across_splits": 1}}


def told(export: Any, linear: Any, verdict: bytes | None, curated: Any = CURATED) -> Result:
    for stage, content in (("export", export), ("linear_eval", linear), ("curate", curated)):
        path = Path("reports", stage, "details.json")
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))
    Path("reports/finetune").mkdir()
    if verdict is not None:
        Path("reports/finetune/verdict.txt").write_bytes(verdict)
    return CliRunner().invoke(summary, [])


def test_what_was_found_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = told({"parity": {"min_cosine": 0.9999999}}, ACCURACY | {"random_encoder": ACCURACY}, b"It helped.\n")
    assert result.exit_code == 0, result.output
    assert "min cosine 1.000000" in result.output
    assert "Linear probe: 90.0% [85.0, 94.0]; the same encoder untrained: 90.0%" in result.output
    assert "\nIt helped.\n" in result.output
    assert (
        "Images: 3 near-duplicates, 1 pair across splits; reports/curate/images.csv describes each image on a line"
        in result.output
    )


def test_the_sizes_of_views_are_said_where_they_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = {"view_sizes": [[0.0, 8], [0.625, 12], [0.85, 16]]}
    result = told({"parity": {"min_cosine": 1.0}, **sizes}, ACCURACY, b"It helped.")
    words = "Pretrained on views of 8 px, from 62.5% of the run on 12 px, from 85% of the run on 16 px"
    assert f"\n{words}\n" in result.output, result.output


def test_without_labels_there_is_no_accuracy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = told({"parity": {"min_cosine": 1.0}}, {"note": "no labels"}, b"Nothing to compare.")
    assert result.exit_code == 0, result.output
    assert "Linear probe" not in result.output
    assert "classifier" not in result.output


@pytest.mark.parametrize(
    ("export", "linear", "verdict", "damaged"),
    [
        ([], ACCURACY, b"", "export"),
        ({"parity": {"min_cosine": "high"}}, ACCURACY, b"", "export"),
        ({"parity": {"min_cosine": 1.0}, "view_sizes": [8]}, ACCURACY, b"", "export"),
        ({"parity": {"min_cosine": 1.0}}, 3, b"", "linear_eval"),
        ({"parity": {"min_cosine": 1.0}}, [], b"", "linear_eval"),
        ({"parity": {"min_cosine": 1.0}}, {"accuracy": 0.5}, b"", "linear_eval"),
        ({"parity": {"min_cosine": 1.0}}, ACCURACY | {"accuracy": None}, b"", "linear_eval"),
        ({"parity": {"min_cosine": 1.0}}, ACCURACY | {"start": 4}, b"", "linear_eval"),
        ({"parity": {"min_cosine": 1.0}}, ACCURACY, b"\xff\xfe", "finetune"),
    ],
)
def test_a_damaged_product_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export: Any, linear: Any, verdict: bytes, damaged: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = told(export, linear, verdict)
    assert result.exit_code == 1
    assert f"error: reports/{damaged}/" in result.output
    assert f"run `dvc repro --force {damaged}`" in result.output


def test_a_damaged_list_of_images_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = told({"parity": {"min_cosine": 1.0}}, ACCURACY, b"", {"near_duplicates": 3})
    assert result.exit_code == 1
    assert "run `dvc repro --force curate`" in result.output


def test_a_product_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = told({"parity": {"min_cosine": 1.0}}, ACCURACY, None)
    assert result.exit_code == 1
    assert "verdict.txt does not exist: the stage 'finetune' makes it." in result.output
