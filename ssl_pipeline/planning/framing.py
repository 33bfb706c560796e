"""Plan how images become canvases, and which sizes of views make sense."""

from dataclasses import dataclass

from ssl_pipeline.planning.draft import Draft
from ssl_pipeline.planning.evidence import Evidence
from ssl_pipeline.planning.machine import Machine

__all__ = ["SIDES", "Sizes", "frame", "largest_side", "put_canvas"]

SIDES = (16, 24, 32, 48, 64, 96, 128, 160, 192, 224)
"""Sides of views to consider, in px; each can be halved at least twice."""
LEAST = 16
"""Smallest side of a view, in px; smaller images are enlarged, because networks halve them several times."""
ENOUGH_DETAIL = 0.97
"""Share of the variance of pixels that a view should preserve."""
NEARLY_SQUARE = 1.15
"""Largest ratio of the sides, in 9 of 10 images, at which squashing is hardly visible."""
ELONGATED = 2.0
"""Ratio of the sides from which a centred square cuts off half of the image. Below it, the square is used, because
borders make the content smaller, and their position reveals which image a view is of."""
MARGIN = 1.25
"""Ratio of the side of the canvas to that of a view, so that crops need less enlargement."""


@dataclass(frozen=True)
class Sizes:
    """Range of sensible sides of views, in px.

    Attributes:
        least: Smallest sensible side.
        most: Largest sensible side; larger views would show nothing more.
    """

    least: int
    most: int


def largest_side(evidence: Evidence, machine: Machine) -> Sizes:
    """Return the range of sensible sides of views for these images."""
    short = evidence.short_side.median
    enough = next((side for side, share in evidence.detail.items() if share >= ENOUGH_DETAIL), 224)
    fitting = [side for side in SIDES if side <= max(LEAST, min(short, enough))]
    most = max(fitting) if machine.device != "cpu" else min(max(fitting), 64)
    return Sizes(min(32, most), most)


def frame(draft: Draft, evidence: Evidence) -> None:
    """Propose how to read pixels and how to turn images into squares."""
    spec, aspect, short = evidence.spec, evidence.aspect, evidence.short_side
    if evidence.pixels.name == "as_is":
        reason = f"The images are {spec}; 8-bit RGB would lose part of their information."
    else:
        reason = "The images are 8-bit grey or RGB."
    draft.put("ingest.pixels", evidence.pixels.name, reason)
    longest = max(aspect.high, 1 / aspect.low)
    shape = f"9 in 10 images have a width of {aspect.low:.2f} to {aspect.high:.2f} times their height"
    if longest <= NEARLY_SQUARE:
        draft.put("ingest.resize", "squash", f"The whole image is kept, and hardly distorted: {shape}.")
    elif longest >= ELONGATED:
        draft.put("ingest.resize", "letterbox", f"A centred square would cut off half of an image: {shape}.")
    else:
        reason = "A centred square shows the content larger than borders would"
        draft.put("ingest.resize", "crop", f"{reason}: {shape}.")
    side = 1 if short.low < 1 else min(8, int(short.low))
    draft.put(
        "ingest.min_side",
        side,
        f"Smaller images are rejected. The shorter side of 19 in 20 images is at least {short.low:.0f} px.",
    )


def put_canvas(draft: Draft, evidence: Evidence, size: int) -> None:
    """Propose the side of the canvas for views of a size in px."""
    short = evidence.short_side.median
    if size >= short:
        draft.put("ingest.canvas", size, f"The images have about {short:.0f} px, which the views show in full.")
        return
    canvas = max(size, min(int(short), 4 * round(MARGIN * size / 4)))
    draft.put(
        "ingest.canvas",
        canvas,
        f"The canvas is a little larger than the {size} px of a view, so that crops stay sharp.",
    )
