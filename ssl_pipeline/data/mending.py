"""Mend files that every viewer shows but Pillow refuses: JPEGs without their last bytes, and PNGs with long texts."""

import io
import random
import re
from typing import NamedTuple

import numpy as np
from PIL import Image

from ssl_pipeline.data.remarks import Note

__all__ = ["mend"]

MOST_LOST = 0.01
"""Largest share of a JPEG's rows that may be missing at its end."""

_END_OF_IMAGE = b"\xff\xd9"
_MARKER_PATTERN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # neither a stuffed byte nor a restart nor a fill byte
_RESTART_PATTERN = re.compile(rb"\xff[\xd0-\xd7]")
_PNG_HEAD = b"\x89PNG\r\n\x1a\n"
_PNG_UNUSED = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def mend(content: bytes) -> tuple[bytes, Note] | None:
    """Make a file readable if nothing, or next to nothing, is missing from it.

    Args:
        content: Bytes of a file that Pillow could not read.

    Returns:
        The bytes of the mended file, and a note on what is missing; None if it is too broken, or has another format.
    """
    if content.startswith(b"\xff\xd8"):
        return _complete_jpeg(content)
    if content.startswith(_PNG_HEAD):
        return _without_text(content)
    return None


def _without_text(content: bytes) -> tuple[bytes, Note] | None:
    """Drop the texts and the colour profile of a PNG, because Pillow takes a megabyte of them for an attack."""
    kept, dropped, place = [_PNG_HEAD], 0, len(_PNG_HEAD)
    while place < len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] in _PNG_UNUSED:
            dropped += min(end, len(content)) - place
        else:
            kept.append(content[place:end])
        place = end
    if not dropped:
        return None
    note = Note("have long texts or colour profiles, which were ignored", f"{dropped:,} bytes of them were left out")
    return b"".join(kept), note


def _complete_jpeg(content: bytes) -> tuple[bytes, Note] | None:
    """Add the end marker to a JPEG that was cut off in its last scan, so that a decoder shows what is left of it."""
    content = content.rstrip(b"\xff")  # half a marker, which would combine with the next byte to a wrong one
    try:
        frame = _read_frame(content)
    except LookupError:  # its headers contradict each other
        return None
    if frame is None or not frame.complete:
        return None
    lost = _lost_rows(content, frame)
    if lost > MOST_LOST * frame.height:
        return None
    note = Note("lack their last bytes", f"{lost:.1f} of {frame.height} rows are missing at its end")
    return content + _END_OF_IMAGE, note


class _Frame(NamedTuple):
    height: int
    width: int
    unit: tuple[int, int]
    """Height and width of the minimum coded unit (the block that is coded together), px."""
    complete: bool
    """Whether each bit of each coefficient has a scan, which may be incomplete."""
    scan: int
    """Position of the first byte of the last scan."""


def _read_frame(content: bytes) -> _Frame | None:
    """Read the markers of a JPEG (ITU-T T.81, annex B); return None if they make no sense."""
    size: tuple[int, int] | None = None
    unit = (8, 8)
    missing: dict[int, list[int]] = {}  # number of missing low bits of the 64 coefficients, by component
    place = 2
    while found := _MARKER_PATTERN.search(content, place):
        marker, start = content[found.start() + 1], found.end()
        length = int.from_bytes(content[start : start + 2], "big")
        body = content[start + 2 : start + length]
        if len(body) != length - 2 or marker == 0xD9:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and len(body) >= 6:  # the frame's header
            size = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            parts = [body[6 + 3 * number : 9 + 3 * number] for number in range(body[5])]
            if len(parts) > 1:  # a single component is coded block by block, whatever its sampling factors
                unit = 8 * max(part[1] & 15 for part in parts), 8 * max(part[1] >> 4 for part in parts)
            missing = {part[0]: [16] * 64 for part in parts}
        if marker == 0xDA:  # a scan's header
            first, last, low = body[-3], body[-2], body[-1] & 15
            for number in range(body[0]):
                missing[body[1 + 2 * number]][first : last + 1] = [low] * (last + 1 - first)
        place = start + length
    if size is None or 0 in size:
        return None
    return _Frame(*size, unit, not any(any(bits) for bits in missing.values()), place)


def _lost_rows(content: bytes, frame: _Frame) -> float:
    """Return how many rows' worth of pixels are missing: all from the first pixel that bytes after the end change."""
    whole = _decode(content + _END_OF_IMAGE)
    others = (_decode(content + filler + _END_OF_IMAGE) for filler in _fillers(content[frame.scan :]))
    differs = np.zeros(whole.shape[:2], np.bool_)
    for other in others:
        differs |= (whole != other).any(axis=2)
    rows = differs.any(axis=1)
    if not rows.any():
        return 0.0
    height, width = frame.unit
    # Colours are coded at half the size and blurred when enlarged, which reaches one pixel into the unit above.
    top = (int(rows.argmax()) + 1) // height * height
    inside = differs[max(0, top - 1) : top + height - 1].any(axis=0)  # its last row is blurred from the row below
    left = (int(inside.argmax()) + 1) // width * width
    bottom = min(top + height, frame.height)
    return frame.height - bottom + (bottom - top) * (1 - left / frame.width)


def _fillers(scan: bytes) -> list[bytes]:
    """Return bytes to append to a scan: each item starts with different bits, and none with the zeros of libjpeg."""
    draw = random.Random(0)
    noise = bytes(draw.randrange(255) for _ in range(256))
    restarts = _RESTART_PATTERN.findall(scan)  # at the end of an interval, decoders skip to the next restart marker
    restart = bytes((0xFF, 0xD0 + (restarts[-1][1] + 1) % 8 if restarts else 0xD0))
    return [bytes((first,)) + noise + restart + noise for first in (0x5A, 0xA5, 0xDA)]


def _decode(content: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    pixels = np.asarray(Image.open(io.BytesIO(content), formats=("JPEG",)))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]
