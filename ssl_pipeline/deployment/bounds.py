"""Bounds on the difference between each graph and what it was made from, as data."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["BACKBONE", "CLASSIFIER", "ENERGY", "LINEAR_PROBE", "PRETEXT", "REHEARSAL", "TEXT_TOWER", "VIEWS", "Bounds"]

Scale = Literal["row", "batch", "all", "one"]


@dataclass(frozen=True)
class Bounds:
    """The bounds of one graph; a figure whose bound is None is not judged.

    Attributes:
        max_difference: Largest difference between a value of the graph and that of its reference, in units of `scale`.
        scale: Unit of differences: the largest component in the reference's `row`, in its `batch` or in `all` batches;
            or `one` for absolute differences.
        min_cosine: Smallest cosine between a row of the graph and that of its reference.
        max_row_difference: Largest difference between a row computed in a batch and the same row computed alone, in
            units of `scale`.
        min_variation: Smallest std, over different images, of the component that varies most, relative to the largest
            component. Outputs that vary less would agree within `max_difference` whatever the image, and so prove
            nothing: a collapsed network cannot pass.
        varies: Quantity that has to vary: the `values`, or their `logarithms`. A confident classifier may give nearly
            the same probabilities to all images of a class.
    """

    max_difference: float
    scale: Scale
    min_cosine: float | None = None
    max_row_difference: float | None = None
    min_variation: float | None = None
    varies: Literal["values", "logarithms"] = "values"


BACKBONE = Bounds(1e-4, "row", min_cosine=0.99999, max_row_difference=1e-4, min_variation=1e-3)

CLASSIFIER = Bounds(1e-4, "row", min_cosine=0.99999, max_row_difference=1e-4, min_variation=1e-3, varies="logarithms")

TEXT_TOWER = BACKBONE
"""The bounds of the backbone, because both embed into the same space."""

ENERGY = Bounds(1e-4, "all")
"""A single energy may be near 0, so the scale is that of all batches. The backbone's proof reveals a collapse."""

PRETEXT = Bounds(1e-4, "batch")
"""No variation is required: a collapsed run may be kept (`pretrain.on_collapse`), and then has a pretext.onnx, too."""

REHEARSAL = Bounds(1e-4, "batch")
"""No variation is required: before training, outputs need not vary."""

VIEWS = Bounds(1e-3, "one")
"""Differences are absolute, because views are in [0, 1]."""

LINEAR_PROBE = Bounds(1e-3, "one")
"""The graph's probabilities are in single precision, those of the solver in double precision."""
