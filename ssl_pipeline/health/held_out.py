"""Whether an encoder still is what it started from: figures of images that nobody learns from, and need no label."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.health.embeddings import effective_rank, unit, views_found
from ssl_pipeline.types import Finding

__all__ = ["NEIGHBOURS", "Sight", "drift", "fallen", "nearest", "sight"]

Array = npt.NDArray[np.floating[Any]]

NEIGHBOURS = 10
"""Nearest neighbours of an image that count as its neighbourhood."""
_ERRORS = 3.0
"""Standard errors beyond which a fall is no chance: of the some thirty looks of a run, one in a thousand is beyond."""


class Sight(NamedTuple):
    """What an encoder makes of the held-out images.

    Attributes:
        found: (n,) share of each image's two views that are found by the other one: 0, 0.5 or 1.
        neighbours: (n, k) int64 rows of each image's nearest neighbours.
        rank: RankMe of all views.
    """

    found: npt.NDArray[np.float64]
    neighbours: npt.NDArray[np.int64]
    rank: float

    def figures(self, start: "Sight") -> dict[str, float]:
        """Return what the curves show, beside what the encoder made of these images at the start."""
        return {
            "held_out_recall": float(self.found.mean()),
            "held_out_effective_rank": self.rank,
            "neighbour_drift": drift(start.neighbours, self.neighbours),
        }


def sight(z1: Array, z2: Array) -> Sight:
    """Sum up the embeddings of two views of each image.

    Args:
        z1: (n, D) embeddings of the first views, n >= 2.
        z2: (n, D) embeddings of the second views, in the same order.
    """
    both = np.concatenate([z1, z2])
    finite = bool(np.isfinite(both).all())
    middle = unit(z1) + unit(z2) if finite else np.zeros(z1.shape)
    return Sight(views_found(z1, z2), nearest(middle, NEIGHBOURS), effective_rank(both))


def nearest(z: Array, k: int) -> npt.NDArray[np.int64]:
    """Return the nearest neighbours of each sample by the cosine, the nearest first.

    Args:
        z: (n, D) finite embeddings, n >= 2. Memory goes with n^2: some thousands are enough.
        k: Number of neighbours, or n - 1 where there are fewer.

    Returns:
        (n, min(k, n - 1)) rows; of two that are equally near, the one with the lower row comes first.
    """
    rows = unit(z)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    order: npt.NDArray[np.int64] = np.argsort(-cosines, axis=1, kind="stable")
    return order[:, : min(k, len(z) - 1)]


def drift(before: npt.NDArray[np.int64], now: npt.NDArray[np.int64]) -> float:
    """Return the share of nearest neighbours that are no longer among them.

    Args:
        before: (n, k) rows of each sample's neighbours at the start.
        now: (n, k) those of today.

    Returns:
        In [0, 1]: 0 where each sample has the neighbours that it had. Of embeddings that have nothing to do with what
        they were, it is 1 - k / (n - 1).
    """
    kept = (before[:, :, None] == now[:, None, :]).any(axis=2)
    return float(1.0 - kept.mean())


def fallen(start: Sight, now: Sight) -> list[Finding]:
    """Say whether the encoder is worse on the held-out images than what it started from, by more than chance.

    Each image is compared with itself: its two views are fixed, and what is drawn by chance is which images are held
    out. The fall is a finding where it is more than three standard errors of the mean of these differences.
    """
    differences = now.found - start.found
    low, fall, high = _interval(-differences)
    if not low > 0:  # False for NaN
        return []
    moved = drift(start.neighbours, now.neighbours)
    return [
        Finding(
            "below its start",
            f"below its start: of held-out images {now.found.mean():.1%} of the views are found by the other view of "
            f"their image, and by the weights that the run started from it was {start.found.mean():.1%} (a fall of "
            f"{100 * fall:.1f} points [{100 * low:.1f}, {100 * high:.1f}]); {moved:.0%} of their nearest neighbours "
            "are others. What was given is being lost. Lower pretrain.optimizer.learning_rate, let the heads learn "
            "first (pretrain.freeze_epochs: 1), hold early layers back (pretrain.layer_decay: 0.75), or average the "
            "weights (pretrain.ema: 0.999). pretrain.ship: best keeps the best step, the start itself if need be.",
        )
    ]


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the mean of values (n,), n >= 2, between the bounds that are `_ERRORS` standard errors away."""
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean - _ERRORS * error, mean, mean + _ERRORS * error
