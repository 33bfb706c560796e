"""How images become canvases, and between which sizes views make sense."""

from dataclasses import dataclass

from ssl_pipeline.planning.draft import Draft
from ssl_pipeline.planning.evidence import Evidence
from ssl_pipeline.planning.machine import Machine

__all__ = ["SIDES", "Sizes", "frame", "largest_side", "put_canvas"]

SIDES = (16, 24, 32, 48, 64, 96, 128, 160, 192, 224)
"""px of views that are considered; all can be halved twice or more."""
LEAST = 16
"""px; smaller images are enlarged, as networks halve them several times."""
ENOUGH_DETAIL = 0.97
"""Share of the variance of pixels that a view should be able to show."""
NEARLY_SQUARE = 1.15
"""Of 9 in 10 images: ratio of the sides up to which squashing is hardly seen."""
ELONGATED = 2.0
"""Ratio of the sides from which on a centred square leaves out half of the image. Up to there it is taken: borders
make all that matters smaller, and give away by their place which image a view is of."""
MARGIN = 1.25
"""Of the canvas around a view, so that crops are not enlarged as much."""


@dataclass(frozen=True)
class Sizes:
    """Sides in px.

    Attributes:
        least: The smallest side of a view that makes sense.
        most: The largest one: with more, nothing more would be seen.
    """

    least: int
    most: int


def largest_side(evidence: Evidence, machine: Machine) -> Sizes:
    """Return the sides between which views make sense for these images."""
    short = evidence.short_side.median
    enough = next((side for side, share in evidence.detail.items() if share >= ENOUGH_DETAIL), 224)
    fitting = [side for side in SIDES if side <= max(LEAST, min(short, enough))]
    most = max(fitting) if machine.device != "cpu" else min(max(fitting), 64)
    return Sizes(min(32, most), most)


def frame(draft: Draft, evidence: Evidence) -> None:
    """Propose how pixels are read and how images become squares."""
    spec, aspect, short = evidence.spec, evidence.aspect, evidence.short_side
    if evidence.pixels.name == "as_is":
        reason = f"The images are {spec}, and 8-bit RGB would lose part of their information."
    else:
        reason = "The images are 8-bit grey or RGB."
    draft.put("ingest.pixels", evidence.pixels.name, reason)
    longest = max(aspect.high, 1 / aspect.low)
    shape = f"9 in 10 images are between {aspect.low:.2f} and {aspect.high:.2f} times as wide as high"
    if longest <= NEARLY_SQUARE:
        draft.put("ingest.resize", "squash", f"All of an image is kept, and hardly distorted: {shape}.")
    elif longest >= ELONGATED:
        draft.put("ingest.resize", "letterbox", f"A centred square would cut off half of an image: {shape}.")
    else:
        reason = "In a centred square, what matters is larger than it would be with borders"
        draft.put("ingest.resize", "crop", f"{reason}: {shape}.")
    side = 1 if short.low < 1 else min(8, int(short.low))
    draft.put("ingest.min_side", side, f"The shorter side of 19 in 20 images has {short.low:.0f} px or more.")


def put_canvas(draft: Draft, evidence: Evidence, size: int) -> None:
    """Propose the side of a canvas for views of a size in px."""
    short = evidence.short_side.median
    if size >= short:
        draft.put("ingest.canvas", size, f"The images have about {short:.0f} px, which views show whole.")
        return
    canvas = max(size, min(int(short), 4 * round(MARGIN * size / 4)))
    draft.put(
        "ingest.canvas",
        canvas,
        f"It is a little more than the {size} px of a view, so that crops stay sharp.",
    )
