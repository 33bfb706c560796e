"""Can a small classifier tell images from their mirrors and rotations? Where it cannot, views may be turned so.

From an image and its mirror the classifier is to say which one is the image. Its features are the pixels of a thumbnail
and the directions of its edges, place by place, and random nonlinear functions of these (Rahimi and Recht 2007, "Random
features for large-scale kernel machines"), because a linear one would only see what images have in common: that half of
the signs point to the left, and those are other signs, takes more. A ridge regression of their differences is fitted on
four fifths of the images and asked for the last one, in turn. Guessing is right half of the time.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.statistics.proportions import effective_images, wilson

__all__ = ["TURNS", "Told", "tell_apart"]

Float = npt.NDArray[np.float32]
Whole = npt.NDArray[np.int64]

TURNS: Mapping[str, Callable[[Float], Float]] = {
    "horizontal_flip": lambda images: images[:, :, ::-1],
    "vertical_flip": lambda images: images[:, ::-1],
    "quarter_turn": lambda images: np.rot90(images, axes=(1, 2)),
}
"""What is done to images (n, S, S, C): left to right, top to bottom, and by 90 degrees."""

FOLDS = 5
FEATURES = 512
CELLS = 4  # a side, of directions of edges
DIRECTIONS = 8
PENALTY = 0.05  # of the ridge, as a share of the mean variance of a feature


@dataclass(frozen=True)
class Told:
    """How often the classifier named the right one of two.

    Attributes:
        share: Share of the images, in [0, 1]; 0.5 is chance.
        low: Lower bound of its 95% interval.
        high: Upper bound.
    """

    share: float
    low: float
    high: float


def tell_apart(thumbnails: Float, groups: Whole) -> dict[str, Told]:
    """Try to tell images from what each turn makes of them.

    Args:
        thumbnails: Images (n, S, S, C) in [0, 1]; S is a multiple of 8.
        groups: Numbers (n,) that are equal for images of which some must not be learned from while others are asked
            for.

    Returns:
        Turn -> what came of it; nothing where there are fewer groups than folds.
    """
    if len(np.unique(groups)) < FOLDS:
        return {}
    folds = _folds(groups)
    describe = _describer(thumbnails)
    upright = describe(thumbnails)
    return {name: _try(upright - describe(turn(thumbnails)), folds, groups) for name, turn in TURNS.items()}


def _folds(groups: Whole) -> Whole:
    """(n,) numbers of folds, of whole groups."""
    names, numbers = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(0).permutation(len(names)) % FOLDS)[numbers]


def _try(differences: Float, folds: Whole, groups: Whole) -> Told:
    """Fit w so that w (f(image) - f(turned)) is 1, and count for how many of the others it is positive."""
    parts = [differences[folds == fold].astype(np.float64) for fold in range(FOLDS)]
    grams, sums = [part.T @ part for part in parts], [part.sum(axis=0) for part in parts]
    gram, total, scores = sum(grams), sum(sums), np.zeros(len(differences))
    for fold, part in enumerate(parts):
        known = gram - grams[fold]  # of all folds but this one
        known[np.diag_indices_from(known)] += PENALTY * np.trace(known) / len(known) + 1e-9
        scores[folds == fold] = part @ np.linalg.solve(known, total - sums[fold])
    right = np.where(np.abs(scores) < 1e-9, 0.5, scores > 0).astype(np.float64)  # a symmetric image decides nothing
    share = float(right.mean())
    low, high = wilson(share, effective_images(right, np.zeros_like(groups), groups))
    return Told(share, min(low, share), max(high, share))


def _describer(thumbnails: Float) -> Callable[[Float], Float]:
    """Return a function from thumbnails to features (n, F), which are as large for each of the images given here."""
    raw = _edges_and_pixels(thumbnails)
    mean, spread = raw.mean(axis=0), raw.std(axis=0) + 1e-3
    random = np.random.default_rng(0)
    weights = random.standard_normal((raw.shape[1], FEATURES)).astype(np.float32) / np.float32(np.sqrt(raw.shape[1]))
    shifts = random.standard_normal(FEATURES).astype(np.float32)

    def describe(images: Float) -> Float:
        plain = (_edges_and_pixels(images) - mean) / spread
        return np.concatenate([plain / np.float32(4), np.maximum(plain @ weights + shifts, 0)], axis=1)

    return describe


def _edges_and_pixels(images: Float) -> Float:
    """(n, F): grey values of 8 x 8 blocks, colours of 4 x 4, and how much edge has which direction in these."""
    images = np.ascontiguousarray(images, np.float32)
    count, side = images.shape[:2]
    grey = images.mean(axis=3)
    blocks = grey.reshape(count, 8, side // 8, 8, side // 8).mean(axis=(2, 4)).reshape(count, -1)
    cell = side // CELLS
    colours = images.reshape(count, CELLS, cell, CELLS, cell, -1).mean(axis=(2, 4)).reshape(count, -1)
    down, right = np.gradient(grey, axis=(1, 2))
    strength, angle = np.hypot(down, right), np.arctan2(down, right)
    bins = ((angle + np.pi) / (2 * np.pi) * DIRECTIONS).astype(np.int64) % DIRECTIONS
    edges = [
        np.where(bins == number, strength, 0).reshape(count, CELLS, cell, CELLS, cell).mean(axis=(2, 4))
        for number in range(DIRECTIONS)
    ]
    cells = np.stack(edges, axis=3).reshape(count, -1)
    length = np.linalg.norm(cells, axis=1, keepdims=True) + 1e-3
    return np.concatenate([blocks, colours, cells / length * 4], axis=1)
