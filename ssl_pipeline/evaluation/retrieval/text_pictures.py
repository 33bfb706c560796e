"""One picture of the images nearest to texts and the texts nearest to images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ssl_pipeline.evaluation.features import sample
from ssl_pipeline.evaluation.retrieval.ranks import Pairs
from ssl_pipeline.neighbours import nearest
from ssl_pipeline.palette import GREEN
from ssl_pipeline.pictures import save_picture
from ssl_pipeline.terminal import shown

__all__ = ["draw_retrieval"]

Numbers = npt.NDArray[np.int64]
Pixels = Callable[[Numbers], npt.NDArray[np.uint8]]
"""Positions (m,) -> images (m, H, W, 3)."""

_ROWS, _NEAREST = 5, 5
_LETTERS, _HEADING = 62, 90  # characters of a text beside an image, and above a row of images
_RIGHT = GREEN


def draw_retrieval(pixels: Pixels, pairs: Pairs, space: tuple[npt.NDArray[Any], npt.NDArray[Any]], path: Path) -> None:
    """Draw five texts, each with its nearest images, and five images, each with its nearest texts.

    The images are spread evenly over all captioned images, and the texts are their first captions. Correct images have
    a green frame, and correct texts green letters.

    Args:
        pixels: Function that returns the images to draw.
        pairs: Pairs of images and captions.
        space: Images (n, D) and texts (T, D) in one space.
        path: Path of the PNG to write.
    """
    images, texts = (np.asarray(part, np.float32) for part in space)
    captioned = np.unique(pairs.images)
    chosen = captioned[sample(captioned, _ROWS)]
    asked = np.array([pairs.numbers[np.flatnonzero(pairs.images == row)[0]] for row in chosen])
    figure = Figure(figsize=(12.5, 1.75 * len(chosen) + 0.4), layout="constrained")
    halves = figure.subfigures(1, 2, width_ratios=[1, 1.1])
    assert isinstance(halves, np.ndarray)
    _draw_images(halves[0], pixels, pairs, asked, nearest(images, texts[asked], min(_NEAREST, len(images)))[1])
    _draw_texts(halves[1], pixels, pairs, chosen, nearest(texts, images[chosen], min(_NEAREST, len(texts)))[1])
    save_picture(figure, path)


def _draw_images(figure: Any, pixels: Pixels, pairs: Pairs, asked: Numbers, found: Numbers) -> None:
    """Draw one row for each text in `asked`, by its number: the images found, with the numbers (_, k)."""
    figure.suptitle("Images nearest to a text (green: correct)", fontsize="medium", x=0.01, ha="left")
    right = pairs.right
    rows = figure.subfigures(len(asked), 1, squeeze=False)[:, 0]
    for row, text, numbers in zip(rows, asked, found, strict=True):
        row.suptitle(_drawable(pairs.texts[text], _HEADING), fontsize="small", x=0.01, ha="left")
        line = row.subplots(1, _NEAREST, squeeze=False)[0]
        for axes in line:
            axes.set_axis_off()
        for axes, number, image in zip(line, numbers, pixels(numbers), strict=False):
            _show(axes, image, bool(right[number, text]))


def _draw_texts(figure: Any, pixels: Pixels, pairs: Pairs, chosen: Numbers, found: Numbers) -> None:
    """Draw each image in `chosen`, by its number, beside the texts found, with the numbers (_, k)."""
    figure.suptitle("Texts nearest to an image (green: correct)", fontsize="medium", x=0.01, ha="left")
    right = pairs.right
    grid = figure.subplots(len(chosen), 2, squeeze=False, width_ratios=[1, 4])
    for line, row, numbers, image in zip(grid, chosen, found, pixels(chosen), strict=True):
        for axes in line:
            axes.set_axis_off()
        _show(line[0], image, False)
        for place, number in enumerate(numbers):
            colour = _RIGHT if right[row, number] else "black"
            words = _drawable(pairs.texts[number], _LETTERS)
            line[1].text(0, 0.9 - 0.2 * place, words, color=colour, fontsize="small", va="center")


def _show(axes: Any, image: npt.NDArray[np.uint8], framed: bool) -> None:
    axes.imshow(image, interpolation="nearest")
    if framed:
        axes.set_axis_on()
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set(color=_RIGHT, linewidth=3)


def _drawable(text: str, letters: int) -> str:
    """Return a text for drawing: on one line, shortened, and with "$" escaped, which would start mathematics."""
    return shown(" ".join(text.split()), letters).replace("$", r"\$")
