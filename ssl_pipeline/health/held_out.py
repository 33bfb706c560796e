"""Comparison of an encoder with its initial weights, on held-out images and without labels."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.health.embeddings import effective_rank, unit, views_found
from ssl_pipeline.types import Finding

__all__ = ["NEIGHBOURS", "Sight", "drift", "fallen", "nearest", "sight"]

Array = npt.NDArray[np.floating[Any]]

NEIGHBOURS = 10
"""Number of nearest neighbours that form the neighbourhood of an image."""
_ERRORS = 3.0
"""Number of standard errors beyond which a fall is not due to chance. By chance, one comparison in a thousand is beyond
it, and a run makes about thirty."""


class Sight(NamedTuple):
    """Summary of an encoder's embeddings of the held-out images.

    Attributes:
        found: Share (n,) of the two views of each image that find each other: 0, 0.5 or 1.
        neighbours: Rows (n, k) int64 of the nearest neighbours of each image.
        rank: Effective rank (RankMe) of the embeddings of all views.
    """

    found: npt.NDArray[np.float64]
    neighbours: npt.NDArray[np.int64]
    rank: float

    def figures(self, start: "Sight") -> dict[str, float]:
        """Return the figures for the curves.

        Args:
            start: The summary for the same images under the initial weights.
        """
        return {
            "held_out_recall": float(self.found.mean()),
            "held_out_effective_rank": self.rank,
            "neighbour_drift": drift(start.neighbours, self.neighbours),
        }


def sight(z1: Array, z2: Array) -> Sight:
    """Summarise the embeddings of two views per image.

    Args:
        z1: Embeddings (n, D) of the first views, n >= 2.
        z2: Embeddings (n, D) of the second views, in the same order.
    """
    both = np.concatenate([z1, z2])
    finite = bool(np.isfinite(both).all())
    middle = unit(z1) + unit(z2) if finite else np.zeros(z1.shape)
    return Sight(views_found(z1, z2), nearest(middle, NEIGHBOURS), effective_rank(both))


def nearest(z: Array, k: int) -> npt.NDArray[np.int64]:
    """Return the nearest neighbours of each sample by cosine, nearest first.

    Args:
        z: Finite embeddings (n, D), n >= 2. Memory grows with n^2; a few thousand embeddings are enough.
        k: Number of neighbours; n - 1 is used if it is smaller.

    Returns:
        (n, min(k, n - 1)) rows of z; ties are ordered by row.
    """
    rows = unit(z)
    cosines = rows @ rows.T
    np.fill_diagonal(cosines, -np.inf)
    order: npt.NDArray[np.int64] = np.argsort(-cosines, axis=1, kind="stable")
    return order[:, : min(k, len(z) - 1)]


def drift(before: npt.NDArray[np.int64], now: npt.NDArray[np.int64]) -> float:
    """Return the share of the initial nearest neighbours that are nearest neighbours no longer.

    Args:
        before: Rows (n, k) of each sample's neighbours at the start.
        now: Rows (n, k) of each sample's present neighbours.

    Returns:
        In [0, 1]: 0 if every sample still has the same neighbours. It is 1 - k / (n - 1) on average if the embeddings
        are unrelated to those at the start.
    """
    kept = (before[:, :, None] == now[:, None, :]).any(axis=2)
    return float(1.0 - kept.mean())


def fallen(start: Sight, now: Sight) -> list[Finding]:
    """Report an encoder that does worse on the held-out images than its initial weights, by more than chance.

    Each image is compared with itself: its two views are fixed, and only the choice of held-out images is random. A
    fall is reported if it exceeds three standard errors of the mean of these differences.
    """
    differences = now.found - start.found
    low, fall, high = _interval(-differences)
    if not low > 0:  # False for NaN
        return []
    moved = drift(start.neighbours, now.neighbours)
    return [
        Finding(
            "below its start",
            f"below its start: on held-out images, {now.found.mean():.1%} of the views are found by the other view of "
            f"their image, down from {start.found.mean():.1%} with the initial weights (a fall of {100 * fall:.1f} "
            f"points [{100 * low:.1f}, {100 * high:.1f}]); {moved:.0%} of their nearest neighbours have changed. The "
            "encoder is losing what its initial weights had learned. Lower pretrain.optimizer.learning_rate, train the "
            "heads first (pretrain.freeze_epochs: 1), lower the learning rate of early layers (pretrain.layer_decay: "
            "0.75), or average the weights (pretrain.ema: 0.999). With pretrain.ship: best, the best step ships, or "
            "the initial weights if none is better.",
        )
    ]


def _interval(values: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Return the lower bound, mean and upper bound of values (n,), n >= 2; bounds are `_ERRORS` standard errors off."""
    mean, error = float(values.mean()), float(values.std(ddof=1)) / math.sqrt(len(values))
    return mean - _ERRORS * error, mean, mean + _ERRORS * error
