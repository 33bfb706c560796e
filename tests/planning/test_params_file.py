"""Writing settings to params.yaml keeps all comments and every value that a person has set."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ssl_pipeline.config import load
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.planning.draft import Setting, value_at
from ssl_pipeline.planning.params_file import RECORD, read_record, set_by_a_person, write_settings
from ssl_pipeline.yaml_file import read_yaml
from ssl_pipeline_stages.shelf import SHIPPED

ROOT = Path(__file__).parents[2]
VIEWS = {
    "global": {"size": 32, "horizontal_flip": {"p": 0.5}, "grayscale": {"p": 0.2}},
    "plain": {"size": 32, "vertical_flip": {"p": 0.5}},
}


@pytest.fixture
def params(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return tmp_path / "params.yaml"


def planned(**values: Any) -> list[Setting]:
    """Return planned settings of the section pretrain."""
    return [Setting(f"pretrain.{name}", value, "Because.", False) for name, value in values.items()]


def comments(path: Path) -> list[str]:
    return [line.partition("#")[2] for line in path.read_text().splitlines() if "#" in line]


def test_what_ships_is_known():
    content = read_yaml(ROOT / "params.yaml")
    assert {key: value_at(content, key) for key in SHIPPED} == SHIPPED


def test_every_comment_stays(params: Path):
    before = comments(params)
    settings = [
        *planned(epochs=1234, backbone={"name": "torchvision/resnet18", "stem": "small"}, batch_size=32),
        *planned(optimizer={"name": "adamw", "learning_rate": 1e-3, "weight_decay": 1e-4, "momentum": 0.9}),
        Setting("augment.views", VIEWS, "Because.", False),
    ]
    write_settings(params, settings)
    assert comments(params) == before
    assert len(params.read_text().splitlines()) == len((ROOT / "params.yaml").read_text().splitlines()) + 2


def test_values_are_those_that_were_planned(params: Path):
    write_settings(params, [*planned(epochs=7), Setting("augment.views", VIEWS, "Because.", False)])
    config = load(params)
    assert config.pretrain.epochs == 7
    assert config.augment.views["global"].active() == {"horizontal_flip", "grayscale"}
    assert config.augment.views["plain"].active() == {"vertical_flip"}
    assert config.augment.views["plain"].size == 32


def test_what_is_left_to_a_person_is_not_written(params: Path):
    write_settings(params, [Setting("pretrain.epochs", 7, "Because.", True)])
    assert read_yaml(params)["pretrain"]["epochs"] == SHIPPED["pretrain.epochs"]
    assert read_record(params.parent) == {}


def test_before_any_plan_a_value_that_does_not_ship_is_a_persons(params: Path):
    content = read_yaml(params)
    content["pretrain"]["epochs"] = 41
    assert set_by_a_person(content, {}, SHIPPED, SHIPPED) == {"pretrain.epochs"}


def test_after_a_plan_each_value_that_was_changed_is_a_persons_even_to_what_ships(params: Path):
    write_settings(params, [*planned(epochs=7, batch_size=32), Setting("augment.views", VIEWS, "Because.", False)])
    record, content = read_record(params.parent), read_yaml(params)
    assert set_by_a_person(content, record, SHIPPED, SHIPPED) == set()
    content["pretrain"]["epochs"] = SHIPPED["pretrain.epochs"]
    content["augment"]["views"]["plain"]["size"] = 24
    assert set_by_a_person(content, record, SHIPPED, SHIPPED) == {"pretrain.epochs", "augment.views"}


def test_a_second_plan_keeps_what_is_known_of_the_first(params: Path):
    write_settings(params, planned(epochs=7))
    write_settings(params, [Setting("pretrain.epochs", 9, "Because.", True), *planned(batch_size=32)])
    assert read_record(params.parent) == {"pretrain.epochs": 7, "pretrain.batch_size": 32}


def test_a_source_counts_as_set_by_a_person(params: Path):
    write_settings(params, planned(epochs=7), {"name": "folder", "path": "some/photos"})
    assert read_yaml(params)["ingest"]["source"] == {"name": "folder", "path": "some/photos"}
    assert read_record(params.parent) == {"pretrain.epochs": 7}


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"planned": 3}', b"\xff"])
def test_a_damaged_record_is_told_and_nothing_is_written(params: Path, content: bytes):
    (params.parent / RECORD).write_bytes(content)
    with pytest.raises(PipelineError, match=r"plan\.json is damaged .*Restore it with git, or remove it"):
        read_record(params.parent)


def test_the_record_can_be_read_by_people(params: Path):
    write_settings(params, planned(epochs=7))
    assert json.loads((params.parent / RECORD).read_text()) == {"planned": {"pretrain.epochs": 7}}
