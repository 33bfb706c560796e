"""How well the exported energy tells what is compatible from what is not, on images held out from training."""

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

IMAGES = 512  # enough for an interval some 0.03 wide, few enough to encode four times on a CPU
CHUNK = 64


def separation(
    path: Path, split: Split, policies: Policies, kind: str, energy_head: EnergyHead | ImageEnergyHead | None
) -> dict[str, Any]:
    """Measure how well energy.onnx tells positive pairs from random ones, through onnxruntime.

    Of an energy of pairs: positive pairs are two views of one image; random pairs are the first of these and a view of
    another image, which may well be of the same class. Of an energy of images: a view, and the same one corrupted.

    Args:
        path: energy.onnx.
        split: Held-out images; the first `IMAGES` of them, in the order of their hashes, are used.
        policies: What views are.
        kind: The kind of view that the task was trained on.
        energy_head: The task's own energy, which says how images are corrupted; None where it has none.

    Returns:
        Which energy, how many images, the AUROC with its 95% interval (None with fewer than two images, and why).
    """
    session = open_session(path)
    count = min(len(split), IMAGES)
    report: dict[str, Any] = {"energy": read_metadata(session)["energy"], "view": kind, "images": count}
    if count < 2:
        reason = f"split '{split.name}' has {count} images; telling pairs apart takes two"
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
