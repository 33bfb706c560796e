"""Read orientation, camera and time from the EXIF of a photograph, but no place and nothing about a person.

The metadata of a file is not trusted: its length is bounded, and broken entries count as missing. Camera and time go
into the index of the store, where curate tests whether the embeddings reveal them. No exported file contains them.

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
"""Largest size of EXIF in which the time is looked up, because each of its entries may cause all of it to be re-read.
Of a TIFF, no more than this is read."""
_MOST_LETTERS = 64
_FORMULA_STARTS = "=+-@ "  # characters that start a formula in a spreadsheet cell
_BROKEN = (SyntaxError, ValueError, OSError, LookupError, TypeError, EOFError, AttributeError, struct.error)
"""Exceptions that Pillow raises if EXIF is broken or the file is closed."""


class Shot(NamedTuple):
    """Camera and time of a photograph; "" for what its file does not state.

    Attributes:
        camera: Maker and model, up to 64 printable characters.
        taken: Time by the camera's clock, such as 2019-05-03T12:00:00.
    """

    camera: str = ""
    taken: str = ""


NOTHING_TOLD = Shot()


def orientation_of(image: Image.Image) -> int:
    """Return the orientation of an image, 1 to 8; 1 (upright) if the file states no valid one."""
    with contextlib.suppress(*_BROKEN):
        found = image.getexif().get(_ORIENTATION)
        if isinstance(found, int) and 1 <= found <= 8:
            return found
    return 1


def shot_of(image: Image.Image) -> Shot:
    """Return the camera and time from the EXIF of an opened image; broken EXIF never raises."""
    make = model = taken = None
    with contextlib.suppress(*_BROKEN):
        exif = image.getexif()
        make, model = exif.get(_MAKE), exif.get(_MODEL)
        if image.format == "TIFF":  # a TIFF keeps its EXIF anywhere in the file, not in a block
            exif.fp = cast("IO[bytes]", _Bounded(exif.fp))
        block = image.info.get("exif", b"")
        if image.format == "TIFF" or (isinstance(block, bytes) and 0 < len(block) <= _MOST_BYTES):
            taken = exif.get_ifd(_PHOTO).get(_TAKEN)
    return told_by(make, model, taken)


class _Bounded:
    """A file that raises an error once more than `_MOST_BYTES` have been read from it.

    Args:
        file: File to read from.
    """

    def __init__(self, file: IO[bytes]):
        self._file, self._left = file, _MOST_BYTES
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        """Return the next bytes.

        Raises:
            OSError: More than `_MOST_BYTES` have been asked for.
        """
        self._left -= size
        if self._left < 0:
            raise OSError("EXIF is too long")
        return self._file.read(size)


def told_by(make: object, model: object, taken: object) -> Shot:
    """Return camera and time from the values of three EXIF tags, which may be anything."""
    maker, name = _text(make), _text(model)
    camera = name if name.lower().startswith(maker.lower()) else f"{maker} {name}"
    return Shot(_text(camera), _moment(_text(taken)))


def _text(value: object) -> str:
    """Return a text on one line, shortened, and safe from being read as a spreadsheet formula; "" for other types."""
    if not isinstance(value, str):
        return ""
    letters = "".join(letter if letter.isprintable() else " " for letter in value[: 4 * _MOST_LETTERS])
    return " ".join(letters.lstrip(_FORMULA_STARTS).split())[:_MOST_LETTERS].strip()


def _moment(text: str) -> str:
    try:
        return datetime.strptime(text, "%Y:%m:%d %H:%M:%S").isoformat()
    except ValueError:
        return ""
