"""Contact sheets: images in rows, with a line or two below each that says why it is there."""

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
"""Side of a picture, the gap between pictures and the height of a line of text, in px."""
_LETTERS = 17  # letters that fit below a picture
_PAPER = "#ffffff"


def contact_sheet(images: Images, captions: Sequence[Sequence[str]], columns: int, path: Path) -> None:
    """Draw images in rows, from the left, each above its lines of text.

    Args:
        images: (m, S, S, 3) images, m >= 1.
        captions: m captions of as many lines each.
        columns: Images in a row.
        path: The path of the PNG.
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
    """Draw pairs of images beside each other, above their lines of text.

    Args:
        pairs: (m, 2, S, S, 3) images, m >= 1.
        captions: m captions of as many lines each.
        columns: Pairs in a row.
        path: The path of the PNG.
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
    # Enlarged pixel by pixel: smoothing would hide what a network sees
    sheet.paste(Image.fromarray(image).resize((_SIDE, _SIDE), Image.Resampling.BOX), (left, top))
    for number, line in enumerate(lines):
        text = shown(line, letters)
        ImageDraw.Draw(sheet).text((left, top + _SIDE + number * _LINE), text, "black", ImageFont.load_default(10))


def _save(sheet: Image.Image, path: Path) -> None:
    with atomic_file(path) as temporary:
        sheet.save(temporary, format="PNG", optimize=True)
