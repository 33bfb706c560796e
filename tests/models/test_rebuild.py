"""What is saved can be rebuilt, and what does not belong together is refused."""

from pathlib import Path

import pytest
import torch

from plugins import load_registry
from ssl_pipeline.config import Choice, load
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.models.rebuild import (
    ModelCard,
    build_encoder,
    build_task,
    load_encoder,
    load_task,
    read_card,
    save_model,
    versions,
)
from ssl_pipeline.recipes import Recipe, resolve

REGISTRY = load_registry()
CONFIG = load(Path(__file__).parents[2] / "params.yaml").pretrain
MEAN, STD = (0.3, 0.4, 0.5), (0.2, 0.2, 0.0)


def saved(folder: Path, recipe: str = "simclr") -> tuple[torch.nn.Module, ModelCard]:
    resolved = resolve(REGISTRY, CONFIG.model_copy(update={"recipe": recipe}))
    task = build_task(REGISTRY, resolved, build_encoder(REGISTRY, CONFIG.backbone, MEAN, STD, 3, 16), 3, 16)
    with torch.no_grad():
        for weight in task.parameters():
            weight.add_(0.01)  # trained, so to speak: no longer what the seed gives
    card = ModelCard(
        backbone=CONFIG.backbone,
        recipe=resolved,
        embedding_dim=64,
        size=16,
        resize="squash",
        background=(255, 255, 255),
        mean=MEAN,
        std=STD,
        seed=3,
        batch_size=64,
        weights_sha256="",
        params_sha256="",
        plugins={},
        versions=versions(),
    )
    return task.eval(), save_model(folder, task.encoder, task.energy_head, card)


@pytest.mark.parametrize("recipe", ["simclr", "siglip_style", "nce", "rotation"])
def test_a_saved_model_comes_back_whole(tmp_path: Path, recipe: str):
    task, card = saved(tmp_path, recipe)
    images = torch.rand(4, 3, 16, 16)
    encoder, found = load_encoder(REGISTRY, tmp_path)
    assert found == card == read_card(tmp_path)
    assert torch.equal(encoder(images), task.encoder(images))  # type: ignore[operator,union-attr]
    rebuilt = load_task(REGISTRY, tmp_path)
    assert (rebuilt.energy_head is None) == (recipe == "rotation")
    if rebuilt.energy_head is not None:
        embeddings = torch.rand(4, 64)
        assert torch.equal(rebuilt.energy_head(embeddings, embeddings), task.energy_head(embeddings, embeddings))  # type: ignore[operator,union-attr]


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
    with pytest.raises(PipelineError, match="is not the file that .*model.json describes"):
        load_encoder(REGISTRY, tmp_path / "first")


def test_missing_products_name_their_stage(tmp_path: Path):
    with pytest.raises(PipelineError, match="the stage 'pretrain' makes it"):
        load_encoder(REGISTRY, tmp_path)


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
