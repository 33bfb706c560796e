"""How near a graph must come to what it was made from: the bounds of every graph, as data."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["BACKBONE", "CLASSIFIER", "ENERGY", "LINEAR_PROBE", "PRETEXT", "REHEARSAL", "TEXT_TOWER", "VIEWS", "Bounds"]

Scale = Literal["row", "batch", "all", "one"]


@dataclass(frozen=True)
class Bounds:
    """The bounds of one graph; None: that figure is not judged.

    Attributes:
        max_difference: The largest difference between a value of the graph and one of its reference, in units of
            `scale`.
        scale: What differences are measured by: the largest component of the reference's `row`, that of its `batch`,
            that of `all` batches, or `one`, which leaves them as they are.
        min_cosine: The smallest cosine between a row of the graph and one of its reference.
        max_row_difference: The largest difference between a row that the graph computes in a batch and the same row
            alone, in units of `scale`.
        min_variation: The smallest std, over different images, of the component that varies most, relative to the
            largest component. Outputs that vary less would agree within `max_difference` whatever the image, and so
            prove nothing: a collapsed network cannot pass.
        varies: What has to vary: the `values`, or their `logarithms`. A classifier that is sure of itself may give
            nearly the same probabilities to all images of a class.
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
"""Its embeddings lie in the same space."""

ENERGY = Bounds(1e-4, "all")
"""A single energy may be near 0. Whether the network has collapsed is seen in the backbone's proof."""

PRETEXT = Bounds(1e-4, "batch")
"""A collapsed run may be kept (`pretrain.on_collapse`), and has a pretext.onnx then."""

REHEARSAL = Bounds(1e-4, "batch")
"""What varies, varies after training."""

VIEWS = Bounds(1e-3, "one")
"""Views are in [0, 1]."""

LINEAR_PROBE = Bounds(1e-3, "one")
"""Probabilities in single precision beside those of a solver in double precision."""
