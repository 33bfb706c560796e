"""Measure how well the exported energy separates compatible from incompatible inputs, on held-out images."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssl_pipeline.augment.display import stored
from ssl_pipeline.augment.policy import Policies
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.runtime import open_session, read_metadata, run
from ssl_pipeline.evaluation.statistics.auroc import auroc, auroc_interval
from ssl_pipeline.randomness import uniforms
from ssl_pipeline.types import EnergyHead, ImageEnergyHead

__all__ = ["separation"]

IMAGES = 512  # enough for an interval about 0.03 wide, few enough to encode four times on a CPU
CHUNK = 64


def separation(
    path: Path, split: Split, policies: Policies, kind: str, energy_head: EnergyHead | ImageEnergyHead | None
) -> dict[str, Any]:
    """Measure through onnxruntime how well energy.onnx separates positive pairs from random pairs.

    For an energy of pairs, a positive pair is two views of one image. A random pair is the first of these views and a
    view of another image, which may belong to the same class. For an energy of single images, a view is compared with a
    corrupted version of it.

    Args:
        path: Path of energy.onnx.
        split: Held-out images, of which the first `IMAGES` in the order of their hashes are used.
        policies: Policies of the views.
        kind: Kind of view that the task was trained on.
        energy_head: Energy head of the task, which determines how images are corrupted; None if it has none.

    Returns:
        The name of the energy, the kind of view, the number of images, and the AUROC with its 95% interval; with fewer
        than two images, AUROC and interval are None and `reason` says why.
    """
    session = open_session(path)
    count = min(len(split), IMAGES)
    report: dict[str, Any] = {"energy": read_metadata(session)["energy"], "view": kind, "images": count}
    if count < 2:
        reason = f"split '{split.name}' has {count} images; separating pairs takes at least two"
        return {**report, "auroc": None, "interval": None, "reason": reason}
    positive, negative = [], []
    for positions in np.array_split(np.arange(count), -(-count // CHUNK)):  # chunks of two or more
        images, ids = torch.from_numpy(split.images(positions)), split.ids[positions]
        views = make_views(policies.views, {kind: 2}, images, ids, policies.seed, 0, split.spec)[kind]
        if isinstance(energy_head, ImageEnergyHead):
            numbers = torch.from_numpy(uniforms(policies.seed, 0, ids, "corruption", energy_head.uniforms))
            positive.append(run(session, stored(views[:, 0], split.spec)))
            negative.append(run(session, stored(energy_head.corrupt(views[:, 0], numbers), split.spec)))
            continue
        first, second = stored(views[:, 0], split.spec), stored(views[:, 1], split.spec)
        positive.append(run(session, first, second))
        negative.append(run(session, first, np.roll(second, 1, axis=0)))
    pairs = np.concatenate(positive), np.concatenate(negative)
    area = auroc(*pairs)
    return {**report, "auroc": area, "interval": auroc_interval(area, *map(len, pairs))}
