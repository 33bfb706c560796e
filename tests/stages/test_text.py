"""linear_eval of a model that reads texts, on a small store of digits with captions and untrained towers."""

import json
from pathlib import Path

import pytest

from ssl_pipeline.evaluation.linear import study
from tests.factories import digits_store, spelled_out
from tests.stages.small_project import QUICK_CLUSTERS, REPORTS, SIZES, STORE, evaluate, metrics, write_project
from tests.text_model import write_text_exports, write_text_model


def test_retrieval_and_zero_shot_are_in_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(study, "RANDOM_DRAWS", 1)
    write_project(tmp_path, clusters=QUICK_CLUSTERS, prompts=["{}", "a {} by hand"])
    digits_store(tmp_path / STORE, SIZES, captions=spelled_out)
    write_text_exports(write_text_model(Path("models/pretrain")), Path("models/export"))
    said = evaluate().output
    found = metrics()
    retrieval, shot = found["retrieval"], found["zero_shot"]
    captioned = sum(1 for row in range(SIZES["test"]) if row % 7 != 6)
    assert (retrieval["split"], retrieval["images"], retrieval["texts"]) == ("test", captioned, 19)
    assert set(retrieval["text_to_image"]) == {"towers", "random_towers", "bag_of_words", "chance"}
    # an untrained encoder still separates digits well enough for a linear map
    assert (
        retrieval["image_to_text"]["bag_of_words"]["recall_at_1_low"]
        > retrieval["image_to_text"]["chance"]["recall_at_1"]
    )
    assert shot["prompts"] == ["{}", "a {} by hand"]
    assert shot["images"] == SIZES["test"]
    assert f"retrieval among {captioned} test images" in said
    headline = json.loads((REPORTS / "metrics.json").read_text())
    assert headline["zero_shot"] == shot["accuracy"]
    assert (REPORTS / "pictures/retrieval.png").exists()
