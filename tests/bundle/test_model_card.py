"""The card reports what the stages found, and text from outside stays text."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ssl_pipeline.bundle.model_card import in_markdown, model_card
from ssl_pipeline.bundle.writing import write_bundle
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.errors import PipelineError
from tests.bundle.small_models import metadata, told, write_models

HOSTILE = "a|b `c` <img src=x> [d](http://e) **f** \u202etxt\n# g"
FILES = [{"name": "backbone.onnx", "size": 1234567, "precision": "fp32", "gives": "rows"}]
THRESHOLDS = {
    "same_image": {"cosine": 0.9994, "copies_missed": 0.0099, "others_taken": 0.0},
    "novel": {"cosine": 0.9768, "false_alarms": 0.0495, "compared_with": 1145},
}


def test_it_tells_figures_with_intervals_beside_their_baselines(made: Path):
    text = (made / "model_card.md").read_text(encoding="utf-8")
    assert "| Linear probe on the exported backbone | 90.0% [85.0, 94.0] |" in text
    assert "| Linear probe on the same encoder untrained | 90.0% [85.0, 94.0] |" in text
    assert "| 1 | 2 | 90.0% [85.0, 94.0] | 90.0% [85.0, 94.0] | no clear difference |" in text
    assert "in the order of the probabilities: cat, dog." in text
    assert "| with labels | 10 | 10 | 10 |" in text
    assert f"| all images and labels | `{'ef' * 32}` |" in text
    assert "init: start.safetensors" in text
    assert "| started from | start\\.safetensors, licence: not stated |\n| contact |" in text
    assert "loss: {name: info_nce, temperature: 0.2}" in text
    assert "devices" not in text
    assert "| licence | not stated, so ask before you use or share it |" in text


def test_a_start_that_nobody_trained_is_not_called_trained():
    whole = told()
    frozen = whole.trained | {"pretrain": whole.trained["pretrain"] | {"epochs": 0}}
    text = model_card(replace(whole, trained=frozen), metadata(RGB8), FILES, [])
    assert "with the weights of `start.safetensors`, not trained any further. It maps the pixels" in text
    assert "The backbone was not trained on any of these images. Exact duplicates" in text
    assert "trained without labels" not in text
    assert "trained on the training images" not in text
    assert "not trained any further" not in model_card(whole, metadata(RGB8), FILES, [])


def test_licence_contact_gate_and_thresholds_are_told():
    export = {
        **told().export,
        "variants": {
            "fp16": {"ships": True, "broken": [], "gate": {"min_cosine": 0.9999, "recall": 1.0}},
            "int8": {"ships": False, "broken": ["recall 0.5 is below min_recall 0.8"]},
        },
    }
    about = metadata(RGB8, licence="CC-BY-4.0", thresholds=json.dumps(THRESHOLDS))
    text = model_card(replace(told(contact="us@example.com"), export=export), about, FILES, [])
    assert "| licence | CC\\-BY\\-4\\.0 |" in text
    assert "| contact | us\\@example\\.com |" in text
    assert "`backbone_fp16.onnx` passed the gate: min cosine 0\\.9999, recall 1" in text
    assert "`backbone_int8.onnx` failed the gate and is not in this folder: recall 0\\.5 is below min\\_recall" in text
    assert (
        "from 0.999400 | 1.0% of re-encoded copies fall below it; 0.0% of images have another image that close," in text
    )
    assert "It was determined with 1,145 training\nimages. Their embeddings are not in this folder" in text
    assert "below 0.976800 | 5.0% of images of the same kind fall below it |" in text


def test_without_labels_it_says_what_was_not_measured(tmp_path: Path):
    shipped = write_models(tmp_path, classes=())
    shipped.classifier.parent.mkdir()
    shipped.classifier.with_name("no_classifier.json").write_text(json.dumps({"reason": "labels name one class"}))
    write_bundle(tmp_path / "bundle", shipped, told(shipped, labelled=False))
    text = (tmp_path / "bundle/model_card.md").read_text(encoding="utf-8")
    assert "There is no classifier: labels name one class." in text
    assert "No accuracy was measured: the labels of the training images name no class" in text
    assert "Linear probe" not in text


def test_strangers_text_has_no_meaning_in_markdown(tmp_path: Path):
    shipped = write_models(tmp_path, classes=(HOSTILE, "zwölf Äpfel"))
    write_bundle(tmp_path / "bundle", shipped, told(shipped, contact=HOSTILE))
    text = (tmp_path / "bundle/model_card.md").read_text(encoding="utf-8")
    escaped = "a\\|b \\`c\\` \\<img src=x\\> \\[d\\]\\(http\\://e\\) \\*\\*f\\*\\* \\\\u202etxt\\\\n\\# g"
    assert f"probabilities: {escaped}, zwölf Äpfel." in text
    assert f"| contact | {escaped} |" in text
    assert HOSTILE.splitlines()[0] not in text


def test_strangers_text_is_bounded_and_so_are_classes():
    assert len(in_markdown("x" * 10_000)) < 250
    text = model_card(told(), metadata(RGB8), FILES, [f"class {number}" for number in range(1000)])
    assert "class 49, ..., 1000 in all." in text
    assert "class 50" not in text


def test_what_another_version_has_told_is_refused():
    with pytest.raises(
        PipelineError, match=r"model card cannot be written \(KeyError\('splits'\)\).*dvc repro --force"
    ):
        model_card(replace(told(), manifest={}), metadata(RGB8), FILES, [])
