"""What the map needs to know of its images, as one JSON object, and what it shows as a table."""

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
"""Neighbours of an image that are shown."""
_DIGITS = 4  # of places in [0, 1]


class Names(NamedTuple):
    """A way to colour the images: each belongs to one of some kinds.

    Attributes:
        title: What the kinds are.
        of: The kind of each image; "" where it has none.
    """

    title: str
    of: list[str]


class Numbers(NamedTuple):
    """A way to colour the images: each has a value.

    Attributes:
        title: What the values are.
        of: The value of each image; None where it has none.
    """

    title: str
    of: list[float | None]


class LabelSurroundings(NamedTuple):
    """What the map shows of a label, in words.

    Attributes:
        name: The label.
        images: How many images on the map have it.
        own: The share of their nearest neighbours that have it, too; of neighbours with a label.
        other: The other label that most of their neighbours have; "" where there is none.
    """

    name: str
    images: int
    own: float
    other: str


@dataclass(frozen=True)
class Chart:
    """Images on a map.

    Attributes:
        positions: Their n positions in the pile.
        data: All that is drawn, for JSON.
        nearest: (n, k) numbers of the images on the map that are nearest to each, by cosine.
        labels: The label of each; "" where it has none.
        total: How many images there are in all.
        label_count: The number of labels.
        surroundings: A line for each of the first `MOST_CLASSES` labels.
    """

    positions: list[int]
    data: dict[str, Any]
    nearest: npt.NDArray[np.int64]
    labels: list[str]
    total: int
    label_count: int = 0
    surroundings: list[LabelSurroundings] = field(default_factory=list)

    def samples(self, count: int) -> list[int]:
        """Return numbers of a few images on the map: one of each label first, as chance has ordered them."""
        firsts = list({label: number for number, label in reversed(list(enumerate(self.labels)))}.values())
        chosen = sorted(firsts)[:count]
        others = (number for number in range(len(self.labels)) if number not in set(chosen))
        return [*chosen, *(number for number, _ in zip(others, range(count - len(chosen)), strict=False))]


def draw_chart(pile: Pile, positions: Sequence[int], embeddings: Features, more: Sequence[Names | Numbers]) -> Chart:
    """Lay images out on a map.

    Args:
        pile: All images.
        positions: Positions of n images.
        embeddings: Their embeddings (n, D), of unit length.
        more: Ways to colour them, beside label and split.
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
    """Return what sorts names that begin with a number by it, and before all others."""
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
