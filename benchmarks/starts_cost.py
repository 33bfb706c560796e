"""The cost of the networks of `benchmarks.starts` in use: size, and time for one image."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.starts_arms import BACKBONES
from benchmarks.starts_images import SIDE
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.config import Choice
from ssl_pipeline.deployment.backbone_graph import export_backbone
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import Recipe

__all__ = ["measured"]

HALF = (0.5, 0.5, 0.5)
ROUNDS = 200


def measured() -> list[dict[str, Any]]:
    """Return a line for each network: its number of weights, and the size (MB) and time (ms) of its exported file.

    Time is the median processor time for one image of the size of a view, on one thread of the CPU, with all networks
    in turns.
    """
    lines: list[dict[str, Any]] = []
    sessions = {}
    image = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for arm, backbone in BACKBONES.items():
            path = Path(folder) / f"{arm}.onnx"
            weights = _export(backbone, path)
            sessions[arm] = open_session(path, threads=1, provider="cpu")
            megabytes = path.stat().st_size / 1e6
            lines.append({"network": arm, "backbone": backbone["name"], "weights": weights, "megabytes": megabytes})
    taken: dict[str, list[float]] = {arm: [] for arm in sessions}
    for _ in range(ROUNDS):
        for arm, session in sessions.items():
            begun = time.process_time()
            run(session, image)
            taken[arm].append(1000 * (time.process_time() - begun))
    return [{**line, "milliseconds": statistics.median(taken[line["network"]])} for line in lines]


def _export(backbone: dict[str, str], path: Path) -> int:
    """Write the graph of a network from pixels to embeddings; return its number of weights."""
    choice = Choice.model_validate(backbone)
    encoder = build_encoder(load_registry(), choice, HALF, HALF, 0, SIDE).eval()
    card = ModelCard(
        backbone=choice,
        recipe=Recipe(name="rotation", pretext_task=Choice(name="rotation")),
        embedding_dim=encoder.embedding_dim,
        size=SIDE,
        resize="squash",
        background=(255, 255, 255),
        mean=HALF,
        std=HALF,
        seed=0,
        batch_size=1,
        weights_sha256="",
        params_sha256="",
        plugins={},
        versions=versions(),
    )
    with torch.no_grad():
        export_backbone(encoder, card, path, l2_normalize=True, opset=18)
    return sum(weight.numel() for weight in encoder.backbone.parameters())
