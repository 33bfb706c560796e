"""Saved models can be rebuilt, and files that do not belong together are refused."""

import json
from pathlib import Path

import pytest
import torch

from ssl_pipeline.artifacts.assembly import build_encoder, build_task, cut, untrained
from ssl_pipeline.artifacts.card import ModelCard, read_card
from ssl_pipeline.artifacts.files import load_encoder, load_task, save_model
from ssl_pipeline.augment.srgb import luminance
from ssl_pipeline.config import Choice, load
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.products import record, write_product
from ssl_pipeline.recipes import Recipe, resolve
from tests.factories import model_card

REGISTRY = load_registry()
CONFIG = load(Path(__file__).parents[2] / "params.yaml").pretrain
MEAN, STD = (0.3, 0.4, 0.5), (0.2, 0.2, 0.0)


def saved(folder: Path, recipe: str = "simclr") -> tuple[torch.nn.Module, ModelCard]:
    resolved = resolve(REGISTRY, CONFIG.model_copy(update={"recipe": recipe}))
    task = build_task(REGISTRY, resolved, build_encoder(REGISTRY, CONFIG.backbone, MEAN, STD, 3, 16), 3, 16)
    with torch.no_grad():
        for weight in task.parameters():
            weight.add_(0.01)  # simulates training: the weights are no longer those that the seed gives
    card = model_card(
        backbone=CONFIG.backbone,
        recipe=resolved,
        embedding_dim=64,
        grayscale=task.encoder.grayscale,  # type: ignore[union-attr]
        size=16,
        mean=MEAN,
        std=STD,
        seed=3,
    )
    return task.eval(), save_model(folder, task.encoder, task.energy_head, card)


@pytest.mark.parametrize("recipe", ["simclr", "siglip_style", "nce", "rotation", "colorization"])
def test_a_saved_model_comes_back_whole(tmp_path: Path, recipe: str):
    task, card = saved(tmp_path, recipe)
    images = torch.rand(4, 3, 16, 16)
    encoder, found = load_encoder(REGISTRY, tmp_path)
    assert found == card == read_card(tmp_path)
    assert torch.equal(encoder(images), task.encoder(images))  # type: ignore[operator,union-attr]
    rebuilt = load_task(REGISTRY, tmp_path)
    assert (rebuilt.energy_head is None) == (recipe in ("rotation", "colorization"))
    if rebuilt.energy_head is not None:
        embeddings = torch.rand(4, 64)
        assert torch.equal(rebuilt.energy_head(embeddings, embeddings), task.energy_head(embeddings, embeddings))  # type: ignore[operator,union-attr]


def test_who_sees_no_colours_is_held_against_an_untrained_one_that_does(tmp_path: Path):
    task, card = saved(tmp_path, "colorization")
    images = torch.rand(4, 3, 16, 16)
    grey = luminance(images).expand(-1, 3, -1, -1)
    for encoder in (task.encoder, load_encoder(REGISTRY, tmp_path)[0], load_task(REGISTRY, tmp_path).encoder):
        torch.testing.assert_close(encoder(images), encoder(grey))  # type: ignore[operator]
    baseline = untrained(REGISTRY, card, 3)
    assert (baseline(images) - baseline(grey)).abs().max() > 0.01


def test_a_channel_that_does_not_vary_does_not_divide_by_zero(tmp_path: Path):
    saved(tmp_path)
    encoder, _ = load_encoder(REGISTRY, tmp_path)
    assert torch.isfinite(encoder(torch.rand(2, 3, 16, 16))).all()


def test_weights_of_another_run_are_refused(tmp_path: Path):
    saved(tmp_path / "first")
    saved(tmp_path / "second", "rotation")
    with torch.no_grad():
        path = tmp_path / "first" / "encoder.safetensors"
        path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(PipelineError, match="encoder.safetensors is damaged.*dvc repro --force pretrain"):
        load_encoder(REGISTRY, tmp_path / "first")
    record(path)  # a complete file of another run, with the matching digest
    with pytest.raises(PipelineError, match="is not the file that .*model.json describes"):
        load_encoder(REGISTRY, tmp_path / "first")


def test_a_damaged_energy_head_is_told(tmp_path: Path):
    saved(tmp_path, "nce")
    path = tmp_path / "energy_head.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")  # the last value is a boolean that was true
    with pytest.raises(PipelineError, match="energy_head.safetensors is damaged.*dvc repro --force pretrain"):
        load_task(REGISTRY, tmp_path)


def test_a_model_of_another_version_is_told(tmp_path: Path):
    saved(tmp_path, "nce")
    card = json.loads((tmp_path / "model.json").read_text())
    write_product(tmp_path / "model.json", {**card, "backbone": {"name": "resnet_cifar", "depth": 14, "width": 8}})
    message = "encoder.safetensors does not fit the network that the code now builds: run `dvc repro --force pretrain`"
    with pytest.raises(PipelineError, match=message):
        load_task(REGISTRY, tmp_path)
    write_product(tmp_path / "model.json", {key: value for key, value in card.items() if key != "size"})
    with pytest.raises(PipelineError, match=r"model.json has a different format version \(size: missing; add it"):
        load_task(REGISTRY, tmp_path)


def test_missing_products_name_their_stage(tmp_path: Path):
    with pytest.raises(PipelineError, match="the stage 'pretrain' makes it"):
        load_encoder(REGISTRY, tmp_path)


def test_an_encoder_cut_at_a_layer_gives_that_layer_s_averaged_maps_with_the_same_weights(tmp_path: Path):
    saved(tmp_path)
    whole, card = load_encoder(REGISTRY, tmp_path)
    images = torch.rand(4, 3, 16, 16)
    for layer, dim in ((1, 16), (2, 32), (3, 64)):
        encoder, found = cut(whole, card, layer)
        assert whole.layer is None  # the whole encoder is unchanged
        assert (found.layer, found.embedding_dim, encoder.embedding_dim) == (layer, dim, dim)
        expected = whole.backbone.maps((images - whole.mean) / whole.std)[layer - 1].mean(dim=(2, 3))
        assert torch.equal(encoder(images), expected)
        assert next(encoder.parameters()) is next(whole.parameters())
        again, card_again = cut(encoder, found, None)
        assert torch.equal(again(images), whole(images))
        assert card_again == card


def test_a_layer_that_the_backbone_does_not_have_is_refused(tmp_path: Path):
    saved(tmp_path)
    encoder, card = load_encoder(REGISTRY, tmp_path)
    for layer in (0, 4):
        message = rf"export.layer: {layer}, but this backbone \(resnet_cifar\) has layers 1 to 3: choose one of them"
        with pytest.raises(ConfigError, match=message):
            cut(encoder, card, layer)
    encoder.backbone.map_channels = ()
    with pytest.raises(ConfigError, match=r"export.layer: 1, but this backbone \(resnet_cifar\) has none"):
        cut(encoder, card, 1)


def test_a_cut_model_comes_back_cut_trained_or_not(tmp_path: Path):
    task, card = saved(tmp_path / "whole")
    encoder, card = cut(task.encoder, card, 2)
    save_model(tmp_path / "cut", encoder, None, card)
    images = torch.rand(4, 3, 16, 16)
    found, described = load_encoder(REGISTRY, tmp_path / "cut")
    assert (found.layer, described.layer, described.embedding_dim) == (2, 2, 32)
    assert torch.equal(found(images), encoder(images))
    fresh = untrained(REGISTRY, card, 5).eval()
    expected = build_encoder(REGISTRY, CONFIG.backbone, MEAN, STD, 5, 16).eval().maps(images)[1].mean(dim=(2, 3))
    assert torch.equal(fresh(images), expected)


@pytest.mark.parametrize(
    ("task", "loss", "message"),
    [
        (
            {"name": "rotation"},
            {"name": "info_nce", "temperature": 1},
            "pretrain.loss: pretext task 'rotation' takes none",
        ),
        ({"name": "joint_embedding", "hidden_dim": 4, "out_dim": 2}, None, "pretrain.loss: .* needs one; name it"),
        ({"name": "joint_embedding", "out_dim": 2}, {"name": "info_nce", "temperature": 1}, "hidden_dim: missing"),
        (
            {"name": "joint_embedding", "hidden_dim": 0, "out_dim": 2},
            {"name": "info_nce", "temperature": 1},
            "hidden_dim and out_dim must be at least 1",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(task: dict[str, object], loss: dict[str, object] | None, message: str):
    recipe = Recipe(
        name="mine",
        pretext_task=Choice.model_validate(task),
        loss=loss and Choice.model_validate(loss),
        negatives=Choice(name="in_batch") if task["name"] == "joint_embedding" else None,
    )
    encoder = build_encoder(REGISTRY, CONFIG.backbone, MEAN, STD, 0, 16)
    with pytest.raises(ConfigError, match=message):
        build_task(REGISTRY, recipe, encoder, 0, 16)
