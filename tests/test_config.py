"""Every mistake in params.yaml is reported in one line that names its key."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ssl_pipeline.config import Choice, load
from ssl_pipeline.errors import ConfigError

PARAMS = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def content() -> dict[str, Any]:
    return yaml.safe_load(PARAMS.read_text())


def write(folder: Path, content: Any) -> Path:
    path = folder / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_shipped_parameters_are_valid_and_every_value_has_a_comment_or_its_parent_has():
    config = load(PARAMS)
    assert config.pretrain.recipe == "simclr"
    lines = PARAMS.read_text().splitlines()
    values = [line for line in lines if ": " in line and not line.lstrip().startswith("#") and not line.endswith(":")]
    uncommented = [line.strip() for line in values if "#" not in line]
    views = {
        "size",
        "name",
        "random_resized_crop",
        "rotation",
        "color_jitter",
        "gaussian_blur",
    }  # commented where they first occur
    assert [line for line in uncommented if line.partition(":")[0] not in views] == []


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        ("pretrain.epoch", 3, "pretrain.epoch: unknown key. Did you mean 'epochs'?"),
        ("pretrian", {}, "pretrian: unknown key. Did you mean 'pretrain'?"),
        ("pretrain.epochs", "many", "pretrain.epochs: 'many' is not a whole number"),
        ("pretrain.epochs", -1, "pretrain.epochs: -1 is too small; the smallest value is 0"),
        ("pretrain.batch_size", 1, "pretrain.batch_size: 1 is too small; the smallest value is 2"),
        (
            "pretrain.optimizer.learning_rate",
            -1,
            "pretrain.optimizer.learning_rate: -1 is too small; it must be greater than 0",
        ),
        ("pretrain.optimizer.learning_rate", ".nan", "learning_rate: '.nan' is not a number"),
        ("pretrain.warmup", 1, "pretrain.warmup: 1 is too large; it must be less than 1"),
        ("pretrain.warmup_epochs", 4, "warmup_epochs: is now a share of the run. Replace it by warmup: 0.1."),
        ("pretrain.warmup_epochs", "recipe", "warmup_epochs: is now a share of the run. Replace it by warmup: recipe"),
        ("pretrain.warmup_epochs", ["x"], "warmup_epochs: is now a share of the run. Replace it by warmup, a share"),
        *(
            (f"pretrain.{name}", 4, f"pretrain.{name}: gradient accumulation is not supported, ")
            for name in ("accumulate", "accumulation_steps", "gradient_accumulation", "accumulate_grad_batches")
        ),
        ("pretrain.backbone", 3, "pretrain.backbone: 3 is not a mapping of keys to values"),
        ("ingest.resize", "stretch", "resize: 'stretch' is not allowed; it must be 'squash', 'crop' or 'letterbox'"),
        ("ingest.background", [0, 0, 256], "ingest.background.2: 256 is too large; the largest value is 255"),
        ("augment.views", {}, "augment.views: {} has too few items (0); the smallest number is 1"),
        ("augment.views.global.sizes", 3, "augment.views.global.sizes: unknown key. Did you mean 'size'?"),
        (
            "augment.views.global.rotation",
            {"p": 2, "degrees": 3},
            "augment.views.global.rotation.p: 2 is too large; the largest value is 1",
        ),
        ("augment.views.global.rotation", {"p": 1}, "augment.views.global.rotation.degrees: missing; add it."),
        (
            "augment.views.global.random_resized_crop",
            {"p": 1, "scale": [1.0, 0.2], "ratio": [1, 1]},
            "scale must be [smallest, largest], got [1.0, 0.2]",
        ),
        (
            "finetune.budgets",
            ["some"],
            "finetune.budgets.0: must be a whole number of 1 or more, or 'all' (found 'some')",
        ),
        ("finetune.draws", 1, "finetune.draws: 1 is too small; the smallest value is 2"),
        ("linear_eval.strengths", [], "linear_eval.strengths: [] has too few items (0); the smallest number is 1"),
        ("export.layer", 0, "export.layer: must be a whole number of 1 or more, or 'last' (found 0)"),
        ("export.layer", True, "export.layer: must be a whole number of 1 or more, or 'last' (found true)"),
        ("export.layer", "first", "export.layer: must be a whole number of 1 or more, or 'last' (found 'first')"),
        ("pretrain.on_collapse", "ignore", "on_collapse: 'ignore' is not allowed; it must be 'stop' or 'warn'"),
        (
            "export.variants",
            ["fp32", "fp8"],
            "export.variants.1: 'fp8' is not allowed; it must be 'fp32', 'fp16' or 'int8'",
        ),
        ("export.variants", ["int8"], "export.variants: must contain fp32: backbone.onnx always ships"),
        ("export.variants", ["fp32", "int8", "int8"], "export.variants: must not name a variant twice"),
        (
            "export.calibration.method",
            "mean",
            "export.calibration.method: 'mean' is not allowed; it must be 'minmax', 'entropy' or 'perc",
        ),
        ("export.calibration.images", 0, "export.calibration.images: 0 is too small; the smallest value is 1"),
        ("export.gate.int8.min_recall", 2, "export.gate.int8.min_recall: 2 is too large; the largest value is 1"),
        ("export.gate.fp32", {}, "export.gate.fp32: unknown key"),
        ("export.on_gate_failure", "warn", "on_gate_failure: 'warn' is not allowed; it must be 'stop' or 'drop'"),
        ("export", None, "export: an empty value is not a mapping of keys to values"),
        ("pretrain.seed", True, "pretrain.seed: must be a number (found true)"),
        (
            "pretrain.seed",
            "yes",
            "pretrain.seed: 'yes' is not a whole number",
        ),
        ("pretrain.seed", 2**31, "pretrain.seed: 2147483648 is too large; it must be less than 2147483648"),
        ("pretrain.optimizer.weight_decay", False, "pretrain.optimizer.weight_decay: must be a number (found false)"),
        (
            "ingest.background",
            [True, 0, 0],
            "ingest.background: must hold numbers, not true or false (found [True, 0",
        ),
        (
            "finetune.learning_rates",
            [1e-3, True],
            "finetune.learning_rates: must hold numbers, not true or false (foun",
        ),
        ("augment.views.global.rotation", {"p": True, "degrees": 3}, "rotation.p: must be a number (found true)"),
        ("pretrain.recipe_size", "x" * 10**5, "is not allowed; it must be 'small' or 'paper'"),
        ("pretrain.epochs", "recipes", "pretrain.epochs: 'recipes' is not a whole number"),
        ("pretrain.optimizer", "adam", "pretrain.optimizer: 'adam' is not a mapping of keys to values"),
        ("augment.views", "recipes", "augment.views: 'recipes' is not a mapping of keys to values"),
        ("augment.views.global", "recip", "augment.views.global: 'recip' is not a mapping of keys to values"),
        (
            "augment.views.global",
            [{"size": 16, "rotatio": {}}],
            "augment.views.global.rotatio: unknown key. Did you mean 'rotation'?",
        ),
        ("pretrain.positives", 2.0, "pretrain.positives: must state what the number means: write {within: 2.0}"),
        ("pretrain.recipe_size", "embedded", "pretrain.recipe_size: 'embedded' is now called 'small': write small"),
        ("x\x1b[31m" * 10**4, 1, "unknown key"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, content: dict[str, Any], keys: str, value: Any, expected: str):
    *parents, last = keys.split(".")
    section = content
    for key in parents:
        section = section[key]
    section[last] = value
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, content))
    assert expected in str(caught.value)
    assert str(tmp_path / "params.yaml") in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < len(str(tmp_path)) + 400
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 2


def test_all_mistakes_are_told_at_once(tmp_path: Path, content: dict[str, Any]):
    content["pretrain"]["epochs"] = -1
    del content["export"]["opset"]
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, content))
    assert len(str(caught.value).splitlines()) == 2
    assert "export.opset: missing; add it." in str(caught.value)


def test_very_many_mistakes_are_counted(tmp_path: Path, content: dict[str, Any]):
    content["export"] |= {f"key{number}": 0 for number in range(500)}
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, content))
    assert len(str(caught.value).splitlines()) == 21
    assert str(caught.value).endswith("and 480 more mistakes")


@pytest.mark.parametrize(
    ("text", "expected"), [("a: [", "not valid YAML"), ("", "must contain the sections"), ("- 1", "sections")]
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, expected: str):
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load(path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match="does not exist. Run this command in the folder that contains params.yaml"):
        load(tmp_path / "params.yaml")


def test_numbers_in_quotes_are_numbers(tmp_path: Path, content: dict[str, Any]):
    content["pretrain"]["optimizer"]["learning_rate"] = "1e-3"
    assert load(write(tmp_path, content)).pretrain.optimizer.learning_rate == 1e-3


def test_a_bare_name_is_a_choice_without_options():
    assert Choice.model_validate("info_nce") == Choice(name="info_nce")
    assert Choice.model_validate({"name": "info_nce", "temperature": 0.1}).options == {"temperature": 0.1}


def test_keys_of_an_earlier_version_are_answered_with_their_place_and_never_read(tmp_path: Path, content):
    """The store and its settings used to be part of `augment`; only the seed of the views stayed there."""
    content["augment"] |= content.pop("ingest")
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, content))
    path, lines = tmp_path / "params.yaml", str(caught.value).splitlines()
    assert len(lines) == 11
    assert f"{path}: augment.canvas: has moved to the section of the store. Move it to ingest.canvas." in lines
    assert lines[-1].startswith(f"{path}: augment.seed: is now the seed of the views only")
    content["ingest"] = {"seed": 3}
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, content))
    assert len(str(caught.value).splitlines()) == 10


def test_all_that_an_earlier_version_wrote_is_answered_at_once(tmp_path: Path, content):
    content["augment"] |= content.pop("ingest")
    del content["augment"]["pixels"]
    content["pretrain"] |= {"recipe_size": "embedded", "epoch": 3}
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, content))
    path, lines = tmp_path / "params.yaml", str(caught.value).splitlines()
    assert len(lines) == 13
    added = "ingest.pixels: is a new key. Add pixels: rgb8 to convert all images to 8-bit RGB, as before."
    assert lines[10] == f"{path}: {added}"
    assert "'embedded' is now called 'small'" in lines[11]
    assert "pretrain.epoch: unknown key" in lines[12]
