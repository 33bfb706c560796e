"""Data behind the map of the images: one JSON object for the script, and a summary of each label as a table."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.neighbours import neighbours
from ssl_pipeline.page.embedding_map import Features, lay_out
from ssl_pipeline.page.pile import Pile
from ssl_pipeline.page.tables import MOST_CLASSES

__all__ = ["NEIGHBOURS", "Chart", "LabelSurroundings", "Names", "Numbers", "draw_chart"]

NEIGHBOURS = 8
"""Number of neighbours shown for each image."""
_DIGITS = 4  # decimals of coordinates in [0, 1]


class Names(NamedTuple):
    """A colouring of the map by category.

    Attributes:
        title: Name of the colouring, as the page shows it.
        of: Category of each image; "" if it has none.
    """

    title: str
    of: list[str]


class Numbers(NamedTuple):
    """A colouring of the map by number.

    Attributes:
        title: Name of the colouring, as the page shows it.
        of: Value of each image; None if it has none.
    """

    title: str
    of: list[float | None]


class LabelSurroundings(NamedTuple):
    """The neighbourhood of a label on the map.

    Attributes:
        name: The label.
        images: Number of images on the map with this label.
        own: Share of their labelled nearest neighbours that have the same label, in [0, 1].
        other: Most frequent other label among their neighbours; "" if there is none.
    """

    name: str
    images: int
    own: float
    other: str


@dataclass(frozen=True)
class Chart:
    """Images on a map.

    Attributes:
        positions: Positions in the pile of the n images on the map.
        data: Everything that the script draws, ready for JSON.
        nearest: Nearest neighbours of each image by cosine, (n, k), as numbers of images on the map in [0, n).
        labels: Label of each image on the map; "" if it has none.
        total: Number of images in the pile.
        label_count: Number of different labels on the map.
        surroundings: Neighbourhoods of the first `MOST_CLASSES` labels.
    """

    positions: list[int]
    data: dict[str, Any]
    nearest: npt.NDArray[np.int64]
    labels: list[str]
    total: int
    label_count: int = 0
    surroundings: list[LabelSurroundings] = field(default_factory=list)

    def samples(self, count: int) -> list[int]:
        """Return the numbers of up to `count` images on the map: one of each label, then others, in the map's order."""
        firsts = list({label: number for number, label in reversed(list(enumerate(self.labels)))}.values())
        chosen = sorted(firsts)[:count]
        others = (number for number in range(len(self.labels)) if number not in set(chosen))
        return [*chosen, *(number for number, _ in zip(others, range(count - len(chosen)), strict=False))]


def draw_chart(pile: Pile, positions: Sequence[int], embeddings: Features, more: Sequence[Names | Numbers]) -> Chart:
    """Lay images out on a map and find their neighbours.

    Args:
        pile: All images.
        positions: Positions of the n images to show.
        embeddings: Unit-norm embeddings (n, D) of these images.
        more: Colourings beside label and split.
    """
    rows = [pile.rows[position] for position in positions]
    labels = [row.label for row in rows]
    nearest = neighbours(embeddings, NEIGHBOURS).ids
    known = [Names("Label", labels)] if any(labels) else []
    ways: list[Names | Numbers] = [*known, *more, Names("Split", [row.split for row in rows])]
    data = {
        "places": lay_out(embeddings).round(_DIGITS).tolist(),
        "paths": [row.path for row in rows],
        "sizes": [f"{row.width} x {row.height}" for row in rows],
        "ways": [_packed(way) for way in ways],
        "nearest": nearest.tolist(),
    }
    kinds, surroundings = len({*labels} - {""}), _surroundings(labels, nearest)
    return Chart(list(positions), data, nearest, labels, len(pile), kinds, surroundings)


def _packed(way: Names | Numbers) -> Mapping[str, Any]:
    if isinstance(way, Numbers):
        return {"title": way.title, "values": way.of}
    names = sorted({*way.of} - {""}, key=_by_number)
    number = {name: place for place, name in enumerate(names)} | {"": -1}
    return {"title": way.title, "names": names, "of": [number[name] for name in way.of]}


def _by_number(name: str) -> tuple[float, str]:
    """Return a sort key that puts names with a leading number first, in the order of that number."""
    begins = re.match(r"[0-9]{1,15}(?![0-9])", name)
    return (float(begins[0]), name) if begins else (np.inf, name)


def _surroundings(labels: Sequence[str], nearest: npt.NDArray[np.int64]) -> list[LabelSurroundings]:
    members: dict[str, list[int]] = {}
    for number, label in enumerate(labels):
        members.setdefault(label, []).append(number)
    found = []
    for name in sorted(members.keys() - {""}, key=_by_number)[:MOST_CLASSES]:
        around = Counter(labels[neighbour] for neighbour in nearest[members[name]].ravel().tolist())
        around.pop("", None)
        total, own = around.total(), around.pop(name, 0)
        other = min(around, key=lambda other: (-around[other], other), default="")
        found.append(LabelSurroundings(name, len(members[name]), own / max(total, 1), other))
    return found
