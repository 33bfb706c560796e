"""Encoders of other seeds beside the one that ships."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.evaluation.budgets.further_encoders import read_encoders
from ssl_pipeline.loading import load_registry
from ssl_pipeline.products import write_product
from tests.factories import model_card

BACKBONE = Choice.model_validate({"name": "resnet_cifar", "depth": 8, "width": 4})
STATISTICS = (0.3, 0.3, 0.3), (0.37, 0.37, 0.37)


def save(folder: Path, seed: int) -> ModelCard:
    """Write what pretraining with a seed produces."""
    folder.mkdir()
    card = model_card(mean=STATISTICS[0], std=STATISTICS[1], seed=seed, params_sha256=str(seed), seedless_sha256="5eed")
    return save_model(folder, build_encoder(load_registry(), BACKBONE, *STATISTICS, seed, 8), None, card)


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[ModelCard]:
    """Write three encoders to the folders 0, 1 and 2; the one in 0 ships."""
    monkeypatch.chdir(tmp_path)
    return [save(Path(str(seed)), seed) for seed in range(3)]


def change(folder: str, **values: object) -> None:
    path = Path(folder) / "model.json"
    write_product(path, json.loads(path.read_text()) | values)


def test_they_are_read_in_order_and_cut_at_the_layer_that_ships(cards):
    found = read_encoders(load_registry(), ["2", "1"], cards[0], 2)
    assert [encoder.layer for encoder in found] == [2, 2]
    for encoder, seed in zip(found, (2, 1), strict=True):
        expected = build_encoder(load_registry(), BACKBONE, *STATISTICS, seed, 8)
        assert torch.equal(encoder.backbone.stem[0].weight, expected.backbone.stem[0].weight)
    assert read_encoders(load_registry(), [], cards[0], None) == []


ELSE = "pretrained with other parameters, weights, views or images than models/pretrain"


def damage_card() -> None:
    (Path("1") / "model.json").write_bytes(b"\xff\xfe{")


def damage_weights() -> None:
    path = Path("1") / "encoder.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda: shutil.rmtree("1"), r"'1' has no model\.json and no encoder\.safetensors. Name copies of the folder"),
        (lambda: (Path("1") / "encoder.safetensors").unlink(), r"'1' has no encoder\.safetensors\. "),
        (damage_card, r"1/model\.json is damaged \(.*Then copy the folder again"),
        (
            lambda: change("1", size="large"),
            r"1/model\.json has a different format version \(size: .*Then copy the folder again",
        ),
        (lambda: change("1", colour=1), r"1/model\.json has a different format version \(colour: unknown key"),
        (damage_weights, r"1/encoder\.safetensors is not the file that model\.json beside it describes"),
        (
            lambda: change("1", size=16),
            rf"1 was {ELSE} \(different: size\)\. Name encoders that differ only in pretrain.seed",
        ),
        (lambda: change("1", backbone="resnet18"), rf"1 was {ELSE} \(different: backbone\)"),
        (lambda: change("1", start_sha256="0"), rf"1 was {ELSE} \(different: start_sha256\)"),
        (lambda: change("1", seedless_sha256="0"), rf"1 was {ELSE}\. Name"),
        (lambda: change("1", seedless_sha256=""), r"the model\.json of 1 was written by an older version"),
    ],
)
@pytest.mark.usefixtures("cards")
def test_what_is_no_encoder_of_another_seed_is_refused_by_name(cards, spoil, words):
    spoil()
    with pytest.raises(ConfigError, match=rf"^finetune\.encoders: {words}"):
        read_encoders(load_registry(), ["2", "1"], cards[0], None)


@pytest.mark.parametrize(
    ("named", "words"),
    [(["0"], "0 holds the same weights as models/pretrain"), (["2", "2"], "2 holds the same weights as 2")],
)
def test_the_same_weights_twice_are_no_other_seed(cards, named, words):
    with pytest.raises(ConfigError, match=words):
        read_encoders(load_registry(), named, cards[0], None)
