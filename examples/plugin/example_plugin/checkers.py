"""Chequered images, drawn when they are read: a source that generates its data by a rule.

A network that distinguishes the sizes of the squares has learned to see edges. No file and no download is needed.
"""

import numpy as np
from PIL import Image

from ssl_pipeline import hookimpl
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.source import Images, Pile, Source
from ssl_pipeline.types import Register

SIDE = 24
SIZES = (2, 4, 8)
VERSION = "1"  # change it whenever the drawing changes, so that images are ingested again


def draw(path: str, limit: int) -> Image.Image:
    """Return the image for a path such as `4/17.png`: squares of 4 px, shifted and coloured by seed 17."""
    size, _, name = path.partition("/")
    chance = np.random.default_rng([int(size), int(name.removesuffix(".png"))])
    rows, columns = np.indices((SIDE, SIDE)) + chance.integers(0, 2 * SIDE, (2, 1, 1))
    dark = (rows // int(size) + columns // int(size)) % 2
    return Image.fromarray(chance.integers(0, 256, (2, 3), dtype=np.uint8)[dark])


class Checkers(Source):
    """Images of squares, labelled by the side of a square in px.

    Args:
        count: Number of images of each size, 10 or more.
    """

    def __init__(self, *, count: int = 200):
        if count < 10:
            raise ValueError(f"count must be 10 or more, got {count}")
        self.count = count

    def open(self) -> Images:
        """Return the images, ordered by the size of their squares."""
        records = [Record(f"{size}/{number}.png", label=str(size)) for size in SIZES for number in range(self.count)]
        return Images(records, draw, portable=False)

    def files(self) -> Pile:
        """Return the version of the drawing, because there are no files."""
        return Pile(others={"example_plugin_checkers": f"version {VERSION}"})


@hookimpl
def register_sources(register: Register) -> None:
    """Add `example_plugin_checkers`."""
    register("example_plugin_checkers", Checkers)
