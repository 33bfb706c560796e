"""Images nearest to texts, and texts nearest to images, as one picture."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ssl_pipeline.evaluation.features import sample
from ssl_pipeline.evaluation.retrieval.ranks import Pairs
from ssl_pipeline.neighbours import nearest
from ssl_pipeline.pictures import save_picture
from ssl_pipeline.terminal import shown

__all__ = ["draw_retrieval"]

Numbers = npt.NDArray[np.int64]
Pixels = Callable[[Numbers], npt.NDArray[np.uint8]]
"""Positions (m,) -> images (m, H, W, 3)."""

_ROWS, _NEAREST = 5, 5
_LETTERS, _HEADING = 62, 100  # letters of a text beside an image, and above images
_RIGHT = "#009E73"


def draw_retrieval(
    pixels: Pixels,
    pairs: Pairs,
    space: tuple[npt.NDArray[Any], npt.NDArray[Any]],
    path: Path,
    rows: Sequence[int] | None = None,
) -> None:
    """Draw five texts with the images nearest to each, and five images with the texts nearest to each.

    What is right has a green frame or green letters.

    Args:
        pixels: What returns images to draw.
        pairs: The texts of each image.
        space: Images (n, D) and texts (T, D) in one space.
        path: Path of the PNG.
        rows: Numbers of images to ask about, and by their first captions; None: five, spread evenly.
    """
    images, texts = (np.asarray(part, np.float32) for part in space)
    captioned = np.unique(pairs.images)
    chosen = captioned[sample(captioned, _ROWS)] if rows is None else np.asarray(rows, np.int64)
    asked = [int(pairs.numbers[np.flatnonzero(pairs.images == row)[0]]) for row in chosen]
    right, count = pairs.right.toarray(), len(chosen)
    figure = Figure(figsize=(12.5, 1.75 * count + 0.4), layout="constrained")
    halves = figure.subfigures(1, 2, width_ratios=[1.15, 1])
    assert isinstance(halves, np.ndarray)
    left, right_half = halves
    left.suptitle("The images nearest to a text", fontsize="medium", x=0.01, ha="left")
    right_half.suptitle("The texts nearest to an image", fontsize="medium", x=0.01, ha="left")
    _, found = nearest(images, texts[asked], min(_NEAREST, len(images)))
    grid = left.subplots(count, _NEAREST, squeeze=False)
    for line, text, numbers in zip(grid, asked, found, strict=True):
        line[0].set_title(_drawable(pairs.texts[text], _HEADING), fontsize="small", loc="left")
        for axes in line:
            axes.set_axis_off()
        for axes, number, image in zip(line, numbers, pixels(numbers), strict=False):
            _show(axes, image, right[number, text])
    _, found = nearest(texts, images[chosen], min(_NEAREST, len(texts)))
    grid = right_half.subplots(count, 2, squeeze=False, width_ratios=[1, 4])
    for line, row, numbers, image in zip(grid, chosen, found, pixels(chosen), strict=True):
        for axes in line:
            axes.set_axis_off()
        _show(line[0], image, False)
        for place, number in enumerate(numbers):
            colour = _RIGHT if right[row, number] else "black"
            words = _drawable(pairs.texts[number], _LETTERS)
            line[1].text(0, 0.9 - 0.2 * place, words, color=colour, fontsize="small", va="center")
    save_picture(figure, path)


def _show(axes: Any, image: npt.NDArray[np.uint8], framed: bool) -> None:
    axes.imshow(image, interpolation="nearest")
    if framed:
        axes.set_axis_on()
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set(color=_RIGHT, linewidth=3)


def _drawable(text: str, letters: int) -> str:
    """Return a text as it can be drawn: on one line, of bounded length, and without mathematics."""
    return shown(" ".join(text.split()), letters).replace("$", r"\$")
