"""The gate: how well a variant reproduces backbone.onnx, measured on real images without labels, and judged."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.deployment.proof import row_cosines
from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.export_config import GateBounds
from ssl_pipeline.neighbours import neighbours
from ssl_pipeline.runtime import Backbone

__all__ = ["MIN_IMAGES", "NEIGHBOURS", "Kept", "agreement", "embed_each", "measure", "row_difference"]

NEIGHBOURS = 10
"""Number of nearest neighbours of an image that a variant should find again."""
MIN_IMAGES = 50
"""Smallest number of images for a judgement: among few, the ten nearest are hard to miss."""

_WORST = float(np.finfo(np.float32).max)

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Kept:
    """Figures on how well a variant reproduces backbone.onnx.

    Attributes:
        images: Number of images that were compared.
        not_finite: Number of its values that are NaN or infinite; if there are any, all figures but the size are the
            worst possible.
        max_difference: Largest difference between two values, in units of the largest component of backbone.onnx's
            embedding.
        min_cosine: Smallest cosine between its embedding of an image and that of backbone.onnx.
        mean_cosine: Mean of these cosines.
        recall: Share of each image's ten nearest neighbours that are also among its ten nearest by the variant.
        size: Size of its file, as a share of that of backbone.onnx.
        row_difference: Largest difference between its embeddings of an image in a batch and alone, in the units of
            `max_difference`.
    """

    images: int
    not_finite: int
    max_difference: float
    min_cosine: float
    mean_cosine: float
    recall: float
    size: float
    row_difference: float = 0.0

    def broken(self, bounds: GateBounds) -> list[str]:
        """Return one line per broken bound, with the figure, the bound and the excess."""
        if self.images < MIN_IMAGES:
            return [
                f"{self.images} validation images are too few for the gate, which needs {MIN_IMAGES}: add images, or "
                "raise ingest.val_fraction"
            ]
        if self.not_finite:
            return [f"{self.not_finite} values are NaN or infinite, but those of backbone.onnx are finite"]
        upper = {
            "max_difference": self.max_difference,
            "max_row_difference": self.row_difference,
            "max_size": self.size,
        }
        lower = {"min_cosine": self.min_cosine, "min_mean_cosine": self.mean_cosine, "min_recall": self.recall}
        found = []
        for sign, figures in ((1, upper), (-1, lower)):
            for name, figure in figures.items():
                bound = getattr(bounds, name)
                if sign * (figure - bound) > 0:
                    found.append(f"{name}: {figure:.6g}, bound {bound:g}, missed by {abs(figure - bound):.2g}")
        return found

    def figures(self) -> dict[str, Any]:
        """Return all figures, for details.json."""
        return asdict(self)


def measure(variant: Path, backbone: Path, exact: Features, images: Sequence[Pixels], together: Pixels) -> Kept:
    """Measure how well a variant reproduces backbone.onnx.

    Args:
        variant: Path of the variant.
        backbone: Path of backbone.onnx.
        exact: Embeddings (n, D) of the images, by backbone.onnx.
        images: Images (H, W, C), n of them, of any shapes.
        together: Images (m, H, W, C) of one shape, to be embedded in one batch and one by one.
    """
    size = variant.stat().st_size / backbone.stat().st_size
    kept = agreement(exact, embed_each(variant, images), size)
    return replace(kept, row_difference=row_difference(variant, together))


def row_difference(path: Path, together: Pixels) -> float:
    """Return how much embeddings depend on the rest of their batch, as `Kept` defines it; 0 for fewer than 2 images.

    Args:
        path: Path of the variant.
        together: Images (m, H, W, C) of one shape.
    """
    if len(together) < 2:
        return 0.0
    session = open_session(path, provider="cpu")
    beside, alone = run(session, together, batch_size=len(together)), run(session, together, batch_size=1)
    return _largest_difference(alone.astype(np.float64), beside.astype(np.float64))


def agreement(exact: Features, found: Features, size: float) -> Kept:
    """Compare embeddings (n, D) of a variant with those (n, D) of backbone.onnx."""
    wrong = int((~np.isfinite(found)).sum())
    if wrong or not len(exact):
        return Kept(len(exact), wrong, _WORST, -1.0, -1.0, 0.0, size)
    wide, other = exact.astype(np.float64), found.astype(np.float64)
    cosines = row_cosines(wide, other)
    nearest, again = (neighbours(rows, NEIGHBOURS).ids for rows in (exact, found))
    common = (nearest[:, :, None] == again[:, None, :]).any(axis=2)
    return Kept(
        images=len(exact),
        not_finite=0,
        max_difference=_largest_difference(wide, other),
        min_cosine=float(cosines.min()),
        mean_cosine=float(cosines.mean()),
        recall=float(common.mean()) if common.size else 0.0,
        size=size,
    )


def _largest_difference(expected: npt.NDArray[np.float64], found: npt.NDArray[np.float64]) -> float:
    """Return the largest difference between values (n, D), in units of the largest expected value in its row."""
    units = np.abs(expected).max(axis=1, keepdims=True).clip(np.finfo(np.float64).tiny)
    largest = float((np.abs(expected - found) / units).max())
    return largest if np.isfinite(largest) else _WORST


def embed_each(path: Path, images: Sequence[Pixels]) -> Features:
    """Return embeddings (n, D) of images (H, W, C) of any shapes, computed on the CPU on every machine."""
    return Backbone(path, provider="cpu", max_megapixels=None)(images)
