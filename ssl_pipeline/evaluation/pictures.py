"""Pictures of evaluation results."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ssl_pipeline.pictures import save_picture
from ssl_pipeline.terminal import shown

__all__ = ["confusion", "save_picture", "short"]

_MAX_CLASSES_WITH_COUNTS = 25  # with more classes, cells show no counts
_MAX_ROWS = 500  # with more classes, each row merges several, which bounds time and memory
_MAX_CLASSES_WITH_NAMES = 120  # with more classes, only some rows are named
_MAX_NAME_LENGTH = 18  # characters


def confusion(counts: npt.NDArray[np.int64], classes: Sequence[str], title: str, path: Path) -> None:
    """Draw a confusion matrix: colours are shares of a row, numbers are images. Above 500 classes, rows merge classes.

    Args:
        counts: Number of images by actual class (row) and predicted class (column), (C, C).
        classes: Names of the C classes.
        title: Title above the picture.
        path: Path of the PNG to write.
    """
    together = -(-len(classes) // _MAX_ROWS)
    if together > 1:
        starts = list(range(0, len(classes), together))
        counts = np.add.reduceat(np.add.reduceat(counts, starts, axis=0), starts, axis=1)
        classes = [classes[start] for start in starts]
    of_class = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(of_class, 1)
    side = 3.5 + min(max(0.5 * len(classes), 2.0), 12.0)  # inches
    size = min(10.0, 72 * 0.8 * (side - 3.5) / len(classes))  # points
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    every = -(-len(classes) // _MAX_CLASSES_WITH_NAMES)
    ticks = range(0, len(classes), every)
    names = [short(classes[tick]) for tick in ticks]
    axes.set_xticks(ticks, names, rotation=90, fontsize=size)
    axes.set_yticks(
        ticks, [f"{name} ({of_class[tick, 0]})" for tick, name in zip(ticks, names, strict=True)], fontsize=size
    )
    joint = f", {together} classes per row, named after the first" if together > 1 else ""
    axes.set(title=title, xlabel="predicted", ylabel=f"actual (images){joint}")
    if len(classes) <= _MAX_CLASSES_WITH_COUNTS:
        for row, column in zip(*counts.nonzero(), strict=True):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=size)
    figure.colorbar(image, ax=axes, label="share of the actual class", shrink=0.6)
    save_picture(figure, path)


def short(name: str) -> str:
    """Return the name of a class, shortened and escaped for drawing."""
    name = shown(name, 1000)  # escapes line breaks and control sequences
    name = name if len(name) <= _MAX_NAME_LENGTH else name[: _MAX_NAME_LENGTH - 1] + "…"
    return name.replace("$", r"\$")  # otherwise matplotlib would typeset it as mathematics
