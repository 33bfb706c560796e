"""What linear_eval reads, small: a store of real digits, and a network as initialised with its export."""

from pathlib import Path

from ssl_pipeline.artifacts.assembly import build_encoder, cut
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.loading import load_registry
from ssl_pipeline.products import record
from tests.factories import BACKBONE, MEAN, STD, Relabel, as_they_are, digits_store, model_card

__all__ = ["BACKBONE", "MEAN", "SIZES", "STD", "Relabel", "as_they_are", "write_models", "write_store"]

SIZES = {"train": 200, "val": 60, "test": 120}


def write_store(store: Path, relabel: Relabel) -> None:
    """Digits in three splits; `relabel` gives the names of a split's classes, "" for none."""
    digits_store(store, SIZES, relabel)


def write_models(root: Path, layer: int | None = None) -> None:
    """models/pretrain and models/export/backbone.onnx, cut at a layer, of a network that has learned nothing."""
    encoder = build_encoder(load_registry(), BACKBONE, MEAN, STD, 0, 8).eval()
    card = model_card(embedding_dim=encoder.embedding_dim)
    (root / "models/pretrain").mkdir(parents=True, exist_ok=True)
    card = save_model(root / "models/pretrain", encoder, None, card)
    backbone = root / "models/export/backbone.onnx"
    export_backbone(*cut(encoder, card, layer), backbone, l2_normalize=True, opset=18)
    record(backbone)
