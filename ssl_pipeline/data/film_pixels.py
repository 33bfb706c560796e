"""Convert a decoded frame of a film to the picture a viewer sees: upright, with square pixels, from one moment."""

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from PIL import Image

if TYPE_CHECKING:
    from av import VideoFrame, VideoStream
    from av.sidedata.sidedata import SideData

__all__ = ["upright_image"]

_WIDEST_PIXEL = 4
_UNSPECIFIED = 2  # AVCOL_SPC_UNSPECIFIED
_HD_HEIGHT = 720
"""Height in px from which a film that does not state its colour space is taken to have that of HD (BT.709)."""
_UPRIGHT: dict[tuple[int, ...], Image.Transpose | None] = {
    (1, 0, 0, 1): None,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""Transposition that makes frames upright, by the signs of the display matrix (a, b, c, d), which maps (x, y) to
(a x + c y, b x + d y)."""


def upright_image(frame: "VideoFrame", stream: "VideoStream") -> Image.Image:
    """Return a frame as a viewer sees it: 8-bit grey, RGB or RGBA, upright, with square pixels."""
    turn, (width, height) = _turn(frame), _square_pixels(frame, stream)
    kind = frame.format
    if any(component.is_alpha for component in kind.components):
        shown = "rgba"
    elif kind.name.startswith(("gray", "mono")):
        shown = "gray"
    else:
        shown = "rgb24"
    colours = "ITU709" if frame.colorspace == _UNSPECIFIED and frame.height >= _HD_HEIGHT else None
    if frame.interlaced_frame:
        frame = _one_field(frame)
    image = Image.fromarray(frame.reformat(width, height, shown, colours, threads=1).to_ndarray())
    return image if turn is None else image.transpose(turn)


def _turn(frame: "VideoFrame") -> Image.Transpose | None:
    """Return the transposition that makes a frame upright, with its rotation rounded to a right angle."""
    matrix = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    if matrix is None:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", bytes(matrix))
    nearest = (a, 0, 0, d) if abs(a) + abs(d) >= abs(b) + abs(c) else (0, b, c, 0)
    return _UPRIGHT.get(tuple((value > 0) - (value < 0) for value in nearest))


def _square_pixels(frame: "VideoFrame", stream: "VideoStream") -> tuple[int, int]:
    """Return the width and height in px of a frame with square pixels; one side is stretched and none is shrunk."""
    shape = float(stream.sample_aspect_ratio or 1)
    if not 1 / _WIDEST_PIXEL <= shape <= _WIDEST_PIXEL:  # implausible
        return frame.width, frame.height
    return (round(frame.width * shape), frame.height) if shape >= 1 else (frame.width, round(frame.height / shape))


def _one_field(frame: "VideoFrame") -> "VideoFrame":
    """Return the top field of an interlaced frame, half of its lines, because the other field was taken later."""
    from av.filter import Graph

    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1000)
    )
    graph.link_nodes(source, graph.add("field", "type=top"), graph.add("buffersink")).configure()
    graph.vpush(frame)
    return graph.vpull()
