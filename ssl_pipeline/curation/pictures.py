"""Contact sheets: images in rows, each with a few lines of text that say why it is shown."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ssl_pipeline.products import atomic_file
from ssl_pipeline.terminal import shown

__all__ = ["contact_sheet", "pair_sheet"]

Images = npt.NDArray[np.uint8]

_SIDE, _GAP, _LINE = 96, 8, 13
"""Side of a picture, gap between pictures, and height of a line of text, in px."""
_LETTERS = 17  # characters that fit below a picture
_PAPER = "#ffffff"


def contact_sheet(images: Images, captions: Sequence[Sequence[str]], columns: int, path: Path) -> None:
    """Draw images in rows, from the left, each above its lines of text.

    Args:
        images: Images (m, S, S, 3); m >= 1.
        captions: Lines of text of each image; all m captions have the same number of lines.
        columns: Number of images per row.
        path: Path of the PNG to write.
    """
    columns = min(columns, len(images))
    height = _SIDE + _LINE * len(captions[0]) + _GAP
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (_SIDE + _GAP) + _GAP, rows * height + _GAP), _PAPER)
    for number, (image, lines) in enumerate(zip(images, captions, strict=True)):
        left, top = _GAP + number % columns * (_SIDE + _GAP), _GAP + number // columns * height
        _paste(sheet, image, left, top, lines, _LETTERS)
    _save(sheet, path)


def pair_sheet(pairs: Images, captions: Sequence[Sequence[str]], columns: int, path: Path) -> None:
    """Draw pairs of images side by side, above their lines of text.

    Args:
        pairs: Pairs of images (m, 2, S, S, 3); m >= 1.
        captions: Lines of text of each pair; all m captions have the same number of lines.
        columns: Number of pairs per row.
        path: Path of the PNG to write.
    """
    columns = min(columns, len(pairs))
    width, height = 2 * _SIDE + 3 * _GAP, _SIDE + _LINE * len(captions[0]) + _GAP
    rows = -(-len(pairs) // columns)
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), _PAPER)
    for number, ((one, other), lines) in enumerate(zip(pairs, captions, strict=True)):
        left, top = _GAP + number % columns * width, _GAP + number // columns * height
        _paste(sheet, other, left + _SIDE + 2, top, (), 0)
        _paste(sheet, one, left, top, lines, 2 * _LETTERS)
    _save(sheet, path)


def _paste(sheet: Image.Image, image: Images, left: int, top: int, lines: Sequence[str], letters: int) -> None:
    # small images are enlarged without smoothing, which would hide what the network sees
    sheet.paste(Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BOX), (left, top))
    for number, line in enumerate(lines):
        text = shown(line, letters)
        ImageDraw.Draw(sheet).text((left, top + _SIDE + number * _LINE), text, "black", ImageFont.load_default(10))


def _save(sheet: Image.Image, path: Path) -> None:
    with atomic_file(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
