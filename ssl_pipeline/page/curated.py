"""Findings of the stage curate about each image, as the page shows them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ssl_pipeline.data.tables import harmless
from ssl_pipeline.evaluation.statistics.proportions import above_chance
from ssl_pipeline.page.chart import Names, Numbers
from ssl_pipeline.page.facts import Picture, Places, pictures
from ssl_pipeline.page.pile import Pile
from ssl_pipeline.page.tables import open_table
from ssl_pipeline.page.verdict import told
from ssl_pipeline.products import read_json

__all__ = ["Cluster", "Curated", "Shortcut", "read_curated"]

_FACTS = ("path", "split", "label", "nearest", "similarity", "near_duplicates", "cluster")
"""Columns of images.csv that are not offered as numerical colourings of the map."""
_SUSPECTED = "suspected_label"
"""Column of class names; a category even if all names are numbers."""
_IN_WORDS = {
    "near_duplicates_across_splits": "pairs of near-duplicates across two splits",
    "suspected_labels": "images that look more like another class (mislabelled, or merely hard)",
}
"""Descriptions of figures in metrics.json."""
_OF_A_CLUSTER = 10  # images shown of each cluster
_ALTS = {
    "near_duplicates": "Pairs of near-duplicates; pairs across two splits come first.",
    "outliers": "The oddest images, each with its outlier score.",
    "label_errors": "Labels to check: images that look more like another class than their own.",
    "label_next": "Images to label next.",
}


class Cluster(NamedTuple):
    """A cluster of images that look alike.

    Attributes:
        name: Number of the cluster and, if there are labels, the most frequent label in it.
        images: Number of images in the cluster.
        positions: Positions of some of these images, the most central one first.
    """

    name: str
    images: int
    positions: list[int]


class Shortcut(NamedTuple):
    """A property of the files that is not content, and how often it can be predicted, in percent.

    Attributes:
        name: Name of the property, such as "the camera".
        embeddings: Share of images for which a probe predicts the property from the embedding.
        label: Share of images for which the label alone predicts the property; "" without labels.
        chance: Share of images that have the most frequent value.
        above_chance: Whether the probe is better than chance by more than luck.
    """

    name: str
    embeddings: str
    label: str
    chance: str
    above_chance: bool


class Curated(NamedTuple):
    """Findings of the stage curate.

    Attributes:
        columns: Colourings of the map, for all images of the pile.
        clusters: Clusters of the images.
        figures: The few figures that are worth comparing between runs, as text by description.
        shortcuts: Properties of the files that a probe was fitted to predict.
        pictures: Pictures that the stage drew.
    """

    columns: list[Names | Numbers]
    clusters: list[Cluster]
    figures: dict[str, str]
    shortcuts: list[Shortcut]
    pictures: list[Picture]

    def ways(self, positions: Sequence[int]) -> list[Names | Numbers]:
        """Return the colourings of the images at the given positions."""
        chosen: list[Names | Numbers] = []
        for way in self.columns:
            if isinstance(way, Names):
                chosen.append(Names(way.title, [way.of[position] for position in positions]))
            else:
                chosen.append(Numbers(way.title, [way.of[position] for position in positions]))
        return chosen


def read_curated(places: Places, pile: Pile) -> Curated | None:
    """Read the findings of curate; return None if it has not run.

    Args:
        places: Locations of the products.
        pile: All images.

    Raises:
        PipelineError: A product is damaged, or describes other images.
    """
    folder = places.reports / "curate"
    if not (folder / "images.csv").exists():
        return None
    columns = told(folder / "images.csv", "curate", lambda path: _columns(path, pile))

    def tell(path: Path) -> tuple[list[str], list[Cluster]]:
        return _clusters(read_json(path, "curate"), columns, pile)

    names, clusters = told(folder / "details.json", "curate", tell)
    titles = dict(enumerate(names))
    ways: list[Names | Numbers] = []
    if "cluster" in columns:
        ways.append(Names("Cluster", [titles[int(cell)] if cell else "" for cell in columns["cluster"]]))
    if any(columns.get(_SUSPECTED, [])):
        ways.append(Names("Suspected label", columns[_SUSPECTED]))
    for name in columns.keys() - {*_FACTS, _SUSPECTED}:
        values = _numbers(columns[name])
        ways += [Numbers(name.replace("_", " ").capitalize(), values)] if values else []
    drawn = sorted(path.stem for path in (folder / "pictures").glob("*.png"))
    alts = {name: _ALTS.get(name, name.replace("_", " ").capitalize() + ".") for name in drawn}
    shown = list(pictures(folder / "pictures", "curate", alts).values())
    accuracy = told(folder / "details.json", "curate", _probe_accuracy)
    ways.sort(key=lambda way: (isinstance(way, Numbers), way.title))
    figures = told(folder / "metrics.json", "curate", lambda path: _figures(path, accuracy))
    return Curated(ways, clusters, figures, told(folder / "details.json", "curate", _shortcuts), shown)


def _columns(path: Path, pile: Pile) -> dict[str, list[str]]:
    """Return the columns of images.csv that the page shows, each with one cell per image of the pile."""
    position = {harmless(row.path, True): number for number, row in enumerate(pile.rows)}
    lines = open_table(path)
    header = next(lines)
    shown = {name: number for number, name in enumerate(header) if name == "cluster" or name not in _FACTS}
    columns = {name: [""] * len(pile) for name in shown}
    where = header.index("path")
    for line in lines:
        image = position.pop(line[where], None)
        if image is None:
            raise ValueError("it describes images that are not in the store")
        for name, number in shown.items():
            columns[name][image] = line[number]
    if position:
        raise ValueError("it lacks images that are in the store")
    return columns


def _numbers(cells: list[str]) -> list[float | None]:
    """Return the numbers of a column, None for an empty cell; an empty list if the column has text or no number."""
    try:
        found = [float(cell) if cell else None for cell in cells]
    except ValueError:
        return []
    return found if any(value is not None for value in found) else []


def _clusters(details: Any, columns: dict[str, list[str]], pile: Pile) -> tuple[list[str], list[Cluster]]:
    """Return the names of all clusters, and the clusters with some of their images."""
    position = {row.path: number for number, row in enumerate(pile.rows)}
    members: dict[int, list[int]] = {}
    for number in pile.by_chance("clusters").tolist():
        if columns["cluster"][number]:
            members.setdefault(int(columns["cluster"][number]), []).append(number)
    names, clusters = [], []
    for number, found in enumerate(details["clusters"]):
        most = f", mostly {found['label']} ({found['share']:.0%})" if "label" in found else ""
        central = position[found["central"]]
        shown = [central, *(other for other in members.get(number, []) if other != central)]
        names.append(f"{number}{most}")
        clusters.append(Cluster(names[-1], int(found["images"]), shown[:_OF_A_CLUSTER]))
    return names, clusters


def _probe_accuracy(path: Path) -> float | None:
    """Return the accuracy of the probe that finds suspected labels; None without labels."""
    found = read_json(path, "curate").get("label_errors", {}).get("probe_accuracy")
    return None if found is None else float(found)


def _shortcuts(path: Path) -> list[Shortcut]:
    """Return the properties of the files that a probe was fitted to predict."""
    found = read_json(path, "curate").get("shortcuts", {})
    return [
        Shortcut(
            name=str(name),
            embeddings=f"{rate['accuracy']:.0%}",
            label=f"{rate['by_label']:.0%}" if "by_label" in rate else "",
            chance=f"{rate['chance']:.0%}",
            above_chance=above_chance(rate["accuracy"], rate["chance"], rate["images"]),
        )
        for name, rate in found.items()
    ]


def _figures(path: Path, accuracy: float | None) -> dict[str, str]:
    """Return the figures as text by description; suspected labels come with the accuracy of the probe behind them."""
    found = {}
    for name, value in read_json(path, "curate").items():
        number = float(value)
        said = f"{number:,.0f}" if number.is_integer() or abs(number) >= 1000 else f"{number:.4g}"
        if name == "suspected_labels" and accuracy is not None:
            said += f", by a probe with an accuracy of {accuracy:.0%}"
        found[_IN_WORDS.get(name, name.replace("_", " "))] = said
    return found
