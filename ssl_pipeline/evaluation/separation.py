"""How well the exported energy tells what is compatible from what is not, on images held out from training."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ssl_pipeline.augment.display import stored
from ssl_pipeline.augment.policy import Policies
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.runtime import open_session, read_metadata, run
from ssl_pipeline.randomness import uniforms
from ssl_pipeline.types import EnergyHead, ImageEnergyHead

__all__ = ["auroc", "auroc_interval", "separation"]

IMAGES = 512  # enough for an interval some 0.03 wide, few enough to encode four times on a CPU
CHUNK = 64
_END = 1e-9  # as near to 0 and 1 as roots are looked for

Energies = npt.NDArray[np.float32]


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
        Which energy, how many images, the AUROC with its 95 % interval (None with fewer than two images, and why).
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


def auroc(positive: Energies, negative: Energies) -> float:
    """Return the probability that a positive pair has less energy than a random one; ties count half.

    Args:
        positive: (n,) energies of positive pairs.
        negative: (m,) energies of random pairs.

    Returns:
        In [0, 1]; 0.5 is chance. Equal to the area under the ROC curve (Hanley and McNeil 1982).
    """
    return float(_wins(positive, negative).mean())


def auroc_interval(area: float, positives: int, negatives: int) -> tuple[float, float]:
    """Return the 95 % score interval of an AUROC, which has a width even at 0 and 1, where a bootstrap has none.

    Args:
        area: An AUROC, in [0, 1].
        positives: Number of positive pairs, n.
        negatives: Number of random pairs, m. That they share views with positive pairs is left out of account.

    Source: Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic" (part
    2), method 5: the areas from which this one is at most 1.96 standard errors away, by Hanley and McNeil's variance.
    """
    from scipy.optimize import brentq
    from scipy.stats import norm

    squared, more = float(norm.isf(0.025)) ** 2, (positives + negatives) / 2 - 1

    def excess(true: float) -> float:
        spread = true * (1 - true) * (1 + more * ((1 - true) / (2 - true) + true / (1 + true)))
        return (true - area) ** 2 - squared * spread / (positives * negatives)

    low = 0.0 if area == 0 else float(brentq(excess, 0.0, min(area, 1 - _END)))
    high = 1.0 if area == 1 else float(brentq(excess, max(area, _END), 1.0))
    return low, high


def _wins(positive: Energies, negative: Energies) -> npt.NDArray[np.float64]:
    """(n, m): 1 where the positive pair has less energy, 1/2 where it has as much."""
    wins: npt.NDArray[np.float64] = (positive[:, None] < negative) + 0.5 * (positive[:, None] == negative)
    return wins
