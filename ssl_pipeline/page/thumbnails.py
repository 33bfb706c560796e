"""Pictures embedded in a page: one sheet of all thumbnails, and the pictures that the stages drew."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.page.pile import Pile
from ssl_pipeline.progress import track

__all__ = ["Sheet", "draw_sheet", "picture_uri"]

_SHEET_PIXELS = 12_000_000
"""Largest number of pixels in a sheet of thumbnails: enough for 10,000 of 32 px, about 5 MB as JPEG."""
_SIDES = (64, 48, 32)
"""Sides of a thumbnail in px: multiples of 16, so that no block of the JPEG covers parts of two thumbnails."""
_AT_A_TIME = 16_000_000  # full-size pixels held in memory at once
_PICTURE_WIDTH = 1600  # px
_PICTURE_BYTES = 600_000


@dataclass(frozen=True)
class Sheet:
    """Thumbnails side by side in one picture.

    Attributes:
        uri: Content of the sheet, as a JPEG in a data URI.
        side: Side of a thumbnail in px.
        columns: Number of thumbnails per row.
        number: Position of an image in the pile -> number of its thumbnail, row by row from the top left.
    """

    uri: str
    side: int
    columns: int
    number: dict[int, int]


def draw_sheet(pile: Pile, positions: Sequence[int]) -> Sheet:
    """Draw a sheet of thumbnails, as large as their number allows.

    Args:
        pile: All images.
        positions: Positions of the images to draw, at least one and each only once, in the order of the sheet.
    """
    count = len(positions)
    side = next((side for side in _SIDES if side * side * count <= _SHEET_PIXELS), _SIDES[-1])
    columns = int(np.ceil(np.sqrt(count)))
    sheet = Image.new("RGB", (columns * side, -(-count // columns) * side), "white")
    canvas = pile.splits[0].canvas
    step = max(1, _AT_A_TIME // canvas**2)
    starts = range(0, count, step)
    for start in track(starts, "thumbnails", total=len(starts)):
        part = np.asarray(positions[start : start + step], np.int64)
        for number, image in enumerate(_as_rgb(pile, pile.images(part)), start):
            # small images are enlarged without smoothing, which would hide what the network sees
            how = Image.Resampling.BOX if canvas < side else Image.Resampling.LANCZOS
            tile = Image.fromarray(image).resize((side, side), how)
            sheet.paste(tile, (number % columns * side, number // columns * side))
    return Sheet(_jpeg(sheet), side, columns, {position: number for number, position in enumerate(positions)})


def picture_uri(path: Path) -> str:
    """Return a PNG as a data URI; a large file becomes a JPEG, shrunk to at most 1,600 px in width.

    Raises:
        OSError: The file is not a readable picture.
    """
    with Image.open(path) as opened:
        opened.load()
        size = path.stat().st_size
        if size <= _PICTURE_BYTES:
            return _uri(path.read_bytes(), "png")
        picture = opened.convert("RGB")
    if picture.width > _PICTURE_WIDTH:
        height = max(1, picture.height * _PICTURE_WIDTH // picture.width)
        picture = picture.resize((_PICTURE_WIDTH, height), Image.Resampling.LANCZOS)
    return _jpeg(picture)


def _as_rgb(pile: Pile, images: Pixels) -> npt.NDArray[np.uint8]:
    spec = pile.splits[0].spec
    if spec.is_rgb and spec.dtype == "uint8":
        return images
    from ssl_pipeline.augment.display import displayed  # imports torch, which takes seconds

    return displayed(images, spec)


def _jpeg(picture: Image.Image) -> str:
    written = io.BytesIO()
    picture.save(written, format="JPEG", quality=82)
    return _uri(written.getvalue(), "jpeg")


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
