"""The code that a stage depends on, in particular if rivals are the encoders of other runs."""

import json
from pathlib import Path

import pytest

from ssl_pipeline.artifacts.files import ENCODER, save_model
from ssl_pipeline.config import Choice, Config, load
from ssl_pipeline.products import write_product
from ssl_pipeline.provenance import plugins as provenance
from ssl_pipeline.testing.material import small_encoder
from ssl_pipeline_stages import paths
from ssl_pipeline_stages.code import refresh
from tests.factories import model_card

ROOT = Path(__file__).parents[2]


def compared_with(rival: Path) -> Config:
    config = load(ROOT / "params.yaml")
    rivals = {"rivals": [str(rival)]}
    return config.model_copy(
        update={"linear_eval": type(config.linear_eval).model_validate(config.linear_eval.model_dump() | rivals)}
    )


def code_of(stage: str) -> set[str]:
    return set(json.loads((paths.CODE / f"{stage}.json").read_text()))


def test_the_backbone_that_another_run_s_card_names_is_code_of_linear_eval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    card = save_model(other, small_encoder(0), None, model_card(backbone=Choice(name="torchvision/resnet18")))
    config = compared_with(other / ENCODER)
    refresh(config)
    assert "ssl_pipeline_plugins.backbones.torchvision" in code_of("linear_eval")
    assert "ssl_pipeline_plugins.backbones.torchvision" not in code_of("pretrain") | code_of("finetune")

    renamed = card.model_copy(update={"backbone": Choice(name="timm/test_vit")})
    write_product(other / "model.json", renamed.model_dump(mode="json"))
    assert "changed code in linear_eval (" in refresh(config)  # though params.yaml is unchanged
    assert "ssl_pipeline_plugins.backbones.timm" in code_of("linear_eval")
    assert "ssl_pipeline_plugins.backbones.torchvision" not in code_of("linear_eval")


def test_a_card_that_cannot_be_read_is_left_to_the_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ENCODER).write_bytes(b"")
    (tmp_path / "model.json").write_text("{")
    refresh(compared_with(tmp_path / ENCODER))
    assert "ssl_pipeline_plugins.backbones.timm" not in code_of("linear_eval")


def test_where_nothing_has_changed_no_source_is_read_for_its_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    config = load(ROOT / "params.yaml")
    refresh(config)
    found = {name: code_of(name) for name in ("ingest", "pretrain")}
    monkeypatch.setattr(provenance, "closure", None)
    for name in found:
        (paths.CODE / f"{name}.json").unlink()
    assert refresh(config) == ""
    assert {name: code_of(name) for name in found} == found


def test_pretrain_depends_on_the_files_of_its_teacher_and_on_its_backbone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It depends on the teacher's file, including weights stored beside a graph; no other stage does."""
    monkeypatch.chdir(tmp_path)
    Path("theirs.safetensors").write_bytes(b"weights")
    config = load(ROOT / "params.yaml")
    task = {"teacher": {"weights": "theirs.safetensors", "backbone": "torchvision/resnet18"}}
    update = {"recipe": "distill", "pretext_task": task}
    config = config.model_copy(update={"pretrain": config.pretrain.model_copy(update=update)})
    refresh(config)
    assert {"teacher", "ssl_pipeline_plugins.backbones.torchvision"} <= code_of("pretrain")
    others = code_of("augment") | code_of("export") | code_of("linear_eval")
    assert not {"teacher", "ssl_pipeline_plugins.backbones.torchvision"} & others
    assert refresh(config) == ""
    Path("theirs.safetensors").write_bytes(b"others")
    assert "changed code in pretrain (teacher)" in refresh(config)


def test_pretrain_depends_on_the_content_of_the_weights_that_it_begins_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "given.safetensors").write_bytes(b"one")
    config = load(ROOT / "params.yaml")
    config = config.model_copy(update={"pretrain": config.pretrain.model_copy(update={"init": "given.safetensors"})})
    refresh(config)
    assert "pretrain.init" in code_of("pretrain")
    assert "pretrain.init" not in code_of("export") | code_of("linear_eval")
    (tmp_path / "given.safetensors").write_bytes(b"another")
    assert "changed code in pretrain (pretrain.init)" in refresh(config)
