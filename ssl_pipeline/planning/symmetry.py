"""Test whether a small classifier can tell images from their mirror images and rotations.

If it cannot, views may be transformed in that way. The classifier sees an image and its mirror image, and must tell
which one is the original. Its features are the pixels of a thumbnail, local directions of edges, and random nonlinear
functions of these (Rahimi and Recht 2007, "Random features for large-scale kernel machines"). A linear classifier would
only see what all images have in common: it would miss that half of the signs point to the left and that these are other
signs. A ridge regression on the differences of features is fitted on four fifths of the images and tested on the
remaining fifth, in turn. Chance is 50%.
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
"""Transformations of images (n, S, S, C): mirrored left to right, mirrored top to bottom, and turned by 90 degrees."""

FOLDS = 5
FEATURES = 512
CELLS = 4  # per side, for directions of edges
DIRECTIONS = 8
PENALTY = 0.05  # ridge penalty, as a share of the mean variance of a feature


@dataclass(frozen=True)
class Told:
    """Accuracy of the classifier.

    Attributes:
        share: Share of correct answers, in [0, 1]; chance is 0.5.
        low: Lower bound of the 95% interval of `share`.
        high: Upper bound of the 95% interval of `share`.
    """

    share: float
    low: float
    high: float


def tell_apart(thumbnails: Float, groups: Whole) -> dict[str, Told]:
    """Try to tell images from their transformed copies.

    Args:
        thumbnails: Images (n, S, S, C) in [0, 1]; S is a multiple of 8.
        groups: Group numbers (n,); images of one group are never split between training and test.

    Returns:
        Accuracy by transformation; empty if there are fewer groups than folds.
    """
    if len(np.unique(groups)) < FOLDS:
        return {}
    folds = _folds(groups)
    describe = _describer(thumbnails)
    upright = describe(thumbnails)
    return {name: _try(upright - describe(turn(thumbnails)), folds, groups) for name, turn in TURNS.items()}


def _folds(groups: Whole) -> Whole:
    """Return fold numbers (n,) that keep groups whole."""
    names, numbers = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(0).permutation(len(names)) % FOLDS)[numbers]


def _try(differences: Float, folds: Whole, groups: Whole) -> Told:
    """Fit w so that w (f(image) - f(transformed)) is 1, and count how often it is positive for held-out images."""
    parts = [differences[folds == fold].astype(np.float64) for fold in range(FOLDS)]
    grams, sums = [part.T @ part for part in parts], [part.sum(axis=0) for part in parts]
    gram, total, scores = sum(grams), sum(sums), np.zeros(len(differences))
    for fold, part in enumerate(parts):
        known = gram - grams[fold]  # all folds but this one
        known[np.diag_indices_from(known)] += PENALTY * np.trace(known) / len(known) + 1e-9
        scores[folds == fold] = part @ np.linalg.solve(known, total - sums[fold])
    right = np.where(np.abs(scores) < 1e-9, 0.5, scores > 0).astype(np.float64)  # a symmetric image decides nothing
    share = float(right.mean())
    low, high = wilson(share, effective_images(right, np.zeros_like(groups), groups))
    return Told(share, min(low, share), max(high, share))


def _describer(thumbnails: Float) -> Callable[[Float], Float]:
    """Return a function from thumbnails to features (n, F), which are standardised on the thumbnails passed here."""
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
    """Return features (n, F): grey values of 8 x 8 blocks, colours of 4 x 4 cells, and their edge directions."""
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
