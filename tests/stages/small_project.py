"""What linear_eval reads, small: a store of real digits, and a network as initialised with its export."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from sklearn.datasets import load_digits

from plugins import load_registry
from ssl_pipeline.artifacts.assembly import build_encoder, cut
from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.artifacts.files import save_model
from ssl_pipeline.config import Choice
from ssl_pipeline.data.store import IndexRow
from ssl_pipeline.data.writer import write_index, write_split
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.products import record
from ssl_pipeline.recipes import Recipe

MEAN, STD = (0.3, 0.3, 0.3), (0.37, 0.37, 0.37)
BACKBONE = Choice.model_validate({"name": "resnet_cifar", "depth": 8, "width": 4})
SIZES = {"train": 200, "val": 60, "test": 120}

Relabel = Callable[[str, npt.NDArray[np.int64]], list[str]]


def write_store(store: Path, relabel: Relabel) -> None:
    """Digits in three splits; `relabel` gives the names of a split's classes, "" for none."""
    x, y = load_digits(return_X_y=True)
    images = np.repeat((x * 15.9).astype(np.uint8).reshape(-1, 8, 8, 1), 3, axis=3)
    rows, start = [], 0
    shutil.rmtree(store, ignore_errors=True)
    for split, size in SIZES.items():
        part = slice(start, start + size)
        write_split(store / split, np.arange(size, dtype=np.uint64), [images[part]], 8)
        for row, label in enumerate(relabel(split, y[part])):
            rows.append(IndexRow(f"{start + row:016x}", f"{start + row}.png", label, split, "", 8, 8, row))
        start += size
    write_index(store, rows)


def as_they_are(split: str, labels: npt.NDArray[np.int64]) -> list[str]:
    return [f"digit {label}" for label in labels]


def write_models(root: Path, layer: int | None = None) -> None:
    """models/pretrain and models/export/backbone.onnx, cut at a layer, of a network that has learned nothing."""
    encoder = build_encoder(load_registry(), BACKBONE, MEAN, STD, 0, 8).eval()
    card = ModelCard(
        backbone=BACKBONE,
        recipe=Recipe(name="rotation", pretext_task=Choice(name="rotation")),
        embedding_dim=encoder.embedding_dim,
        size=8,
        resize="squash",
        background=(255, 255, 255),
        mean=MEAN,
        std=STD,
        seed=0,
        batch_size=64,
        weights_sha256="",
        params_sha256="",
        plugins={},
        versions=versions(),
    )
    (root / "models/pretrain").mkdir(parents=True, exist_ok=True)
    card = save_model(root / "models/pretrain", encoder, None, card)
    backbone = root / "models/export/backbone.onnx"
    export_backbone(*cut(encoder, card, layer), backbone, l2_normalize=True, opset=18)
    record(backbone)
