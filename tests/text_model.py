"""Products of pretraining with captions, with initial weights in both towers, and what export makes of them."""

from pathlib import Path
from typing import NamedTuple

from ssl_pipeline.artifacts.assembly import build_encoder, build_task
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.config import Choice
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.text_graph import export_text
from ssl_pipeline.loading import load_registry
from ssl_pipeline.products import record, sha256
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.tokenizer import TOKENIZER
from ssl_pipeline.types import PretextTask
from tests.factories import BACKBONE, MEAN, STD, model_card
from tests.text_graphs import CONTEXT, small_tokenizer

DIM = 6
RECIPE = Recipe(
    name="clip",
    pretext_task=Choice.model_validate(
        {
            "name": "image_text",
            "vocabulary": 280,
            "context": CONTEXT,
            "width": 16,
            "depth": 1,
            "heads": 2,
            "out_dim": DIM,
        }
    ),
    loss=Choice.model_validate({"name": "info_nce", "temperature": 0.1}),
    negatives=Choice(name="in_batch"),
)


class TextModel(NamedTuple):
    """The folder models/pretrain and its contents."""

    folder: Path
    task: PretextTask
    card: ModelCard


def write_text_model(folder: Path) -> TextModel:
    """Write the products of pretraining: both towers, the energy head, the tokenizer and the card."""
    registry = load_registry()
    task = build_task(registry, RECIPE, build_encoder(registry, BACKBONE, MEAN, STD, 0, 8), 0, 8).eval()
    folder.mkdir(parents=True, exist_ok=True)
    card = model_card(recipe=RECIPE, embedding_dim=DIM, projection_dim=DIM, params_sha256="01", seedless_sha256="45")
    card = save_model(folder, task.encoder, task.energy_head, card, task.text_tower)
    (folder / TOKENIZER).write_text(small_tokenizer().json, encoding="utf-8")
    record(folder / TOKENIZER)
    return TextModel(folder, task, card)


def write_text_graph(model: TextModel, path: Path, *, l2_normalize: bool = True) -> None:
    """Write text.onnx, not yet proved."""
    digests = {
        "text_weights_sha256": sha256(model.folder / "text_tower.safetensors"),
        "tokenizer_sha256": sha256(model.folder / TOKENIZER),
    }
    assert model.task.text_tower is not None
    export_text(model.task.text_tower, model.card, digests, path, l2_normalize=l2_normalize, opset=18)


def write_text_exports(model: TextModel, export: Path) -> None:
    """Write backbone.onnx, text.onnx and tokenizer.json, not yet proved, recorded as the stage records them."""
    export_backbone(model.task.encoder, model.card, export / "backbone.onnx", l2_normalize=True, opset=18)
    write_text_graph(model, export / "text.onnx")
    (export / TOKENIZER).write_bytes((model.folder / TOKENIZER).read_bytes())
    for name in ("backbone.onnx", "text.onnx", TOKENIZER):
        record(export / name)
