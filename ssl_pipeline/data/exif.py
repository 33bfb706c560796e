"""What EXIF says of a photograph: which way up it is, the camera, and the moment. No place, and nothing of a person.

What a stranger's file says is bounded, and whatever is broken counts as not there. Camera and moment go into the index
of the store, where curate asks whether the embeddings tell them, and into no file that is exported.

Source: EXIF 2.32 (CIPA DC-008).
"""

import contextlib
import struct
from datetime import datetime
from typing import IO, NamedTuple, cast

from PIL import Image

__all__ = ["NOTHING_TOLD", "Shot", "orientation_of", "shot_of", "told_by"]

_MAKE, _MODEL, _ORIENTATION, _PHOTO, _TAKEN = 271, 272, 274, 34665, 36867
_MOST_BYTES = 2**16
"""Longer EXIF is not searched for the moment: each of its entries may have all of it read once more. Of a TIFF, no more
is read."""
_MOST_LETTERS = 64
_FORMULA_STARTS = "=+-@ "  # of a cell, to a spreadsheet
_BROKEN = (SyntaxError, ValueError, OSError, LookupError, TypeError, EOFError, AttributeError, struct.error)
"""What Pillow raises at EXIF that is broken, or in a file that is closed."""


class Shot(NamedTuple):
    """How a photograph was taken; "" where its file does not say.

    Attributes:
        camera: The maker and the model, of at most 64 printable characters.
        taken: The moment by the camera's clock, such as 2019-05-03T12:00:00.
    """

    camera: str = ""
    taken: str = ""


NOTHING_TOLD = Shot()


def orientation_of(image: Image.Image) -> int:
    """Return the orientation, 1 to 8; 1, upright, where the file says nothing that is valid."""
    with contextlib.suppress(*_BROKEN):
        found = image.getexif().get(_ORIENTATION)
        if isinstance(found, int) and 1 <= found <= 8:
            return found
    return 1


def shot_of(image: Image.Image) -> Shot:
    """Return how an opened image was taken, as far as its EXIF says so; it never raises."""
    make = model = taken = None
    with contextlib.suppress(*_BROKEN):
        exif = image.getexif()
        make, model = exif.get(_MAKE), exif.get(_MODEL)
        if image.format == "TIFF":  # whose EXIF lies anywhere in the file, and not in a block
            exif.fp = cast("IO[bytes]", _Bounded(exif.fp))
        block = image.info.get("exif", b"")
        if image.format == "TIFF" or (isinstance(block, bytes) and 0 < len(block) <= _MOST_BYTES):
            taken = exif.get_ifd(_PHOTO).get(_TAKEN)
    return told_by(make, model, taken)


class _Bounded:
    """A file whose reader gets an error, instead of more than `_MOST_BYTES`.

    Args:
        file: The file.
    """

    def __init__(self, file: IO[bytes]):
        self._file, self._left = file, _MOST_BYTES
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        self._left -= size
        if self._left < 0:
            raise OSError("EXIF is too long")
        return self._file.read(size)


def told_by(make: object, model: object, taken: object) -> Shot:
    """Return what the values of three tags tell, whatever they are."""
    maker, name = _text(make), _text(model)
    camera = name if name.lower().startswith(maker.lower()) else f"{maker} {name}"
    return Shot(_text(camera), _moment(_text(taken)))


def _text(value: object) -> str:
    """Return a text on one line, of bounded length, that a spreadsheet takes for no formula; "" if it is no text."""
    if not isinstance(value, str):
        return ""
    letters = "".join(letter if letter.isprintable() else " " for letter in value[: 4 * _MOST_LETTERS])
    return " ".join(letters.lstrip(_FORMULA_STARTS).split())[:_MOST_LETTERS].strip()


def _moment(text: str) -> str:
    try:
        return datetime.strptime(text, "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        return ""
