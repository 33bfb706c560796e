"""Contents of the page, gathered from the products of the stages; each part exists only if its products do."""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ssl_pipeline.page.tables import MOST_CLASSES, Table, open_table, read_table
from ssl_pipeline.page.thumbnails import picture_uri
from ssl_pipeline.page.verdict import BASELINES, percent, told
from ssl_pipeline.products import read_json, sha256
from ssl_pipeline.terminal import counted

__all__ = ["Confusion", "Data", "Picture", "Places", "Shipped", "confusions", "pictures", "read_data", "shipped"]

_MOST_ROWS = 20  # rows shown of a list of files
_MOST_PAIRS = 8  # pairs of confused classes
_OTHER_BASELINES = {
    "random_encoder_uncalibrated": "the same encoder untrained, with uncalibrated batch norms",
    "raw_pixels": "raw pixels",
    "colour_histogram": "a colour histogram",
}
_ARMS = {
    "finetune": "pretrained, fine-tuned",
    "probe": "pretrained, frozen probe",
    "random": "random weights, same fine-tuning",
    "start": "starting weights, same fine-tuning",
    "scratch": "same network, trained from scratch",
}
"""Arms that are compared at each label budget."""


@dataclass(frozen=True)
class Places:
    """Locations of the products of a run, any of which may be missing.

    Attributes:
        ingested: Folder that ingest writes.
        augmented: Folder that augment writes.
        reports: Folder of all reports.
        card: Path of model.json, the card of the trained encoder.
        backbone: Path of the exported backbone.
        models: Folders with the files that ship.
    """

    ingested: Path
    augmented: Path
    reports: Path
    card: Path
    backbone: Path
    models: tuple[Path, ...]

    @property
    def store(self) -> Path:
        """Folder of the store of images."""
        return self.ingested / "store"


class Picture(NamedTuple):
    """A picture that a stage drew.

    Attributes:
        uri: Content of the picture, as a data URI.
        alt: Description of the picture, for readers who cannot see it.
        path: Path of the file.
    """

    uri: str
    alt: str
    path: str


class Data(NamedTuple):
    """Findings of the stage ingest.

    Attributes:
        counts: Name of what is counted -> number.
        classes: Name of a class -> number of images in each split; the first classes only.
        warnings: Warnings, as sentences.
        lists: Title of a list of files -> table; empty lists are left out.
    """

    counts: dict[str, int]
    classes: dict[str, list[int]]
    warnings: list[str]
    lists: dict[str, Table]


class Confusion(NamedTuple):
    """Images of one class that the probe mistook for another.

    Attributes:
        actual: Class of the images.
        predicted: Class that the probe predicted.
        numbers: Numbers of these images among the labelled images of the test split, from 0.
    """

    actual: str
    predicted: str
    numbers: list[int]


class Shipped(NamedTuple):
    """A file that ships.

    Attributes:
        path: Path of the file.
        size: Size of the file in bytes.
        sha256: SHA-256 digest of the file, in hex.
    """

    path: str
    size: int
    sha256: str


def read_data(places: Places) -> Data | None:
    """Read the findings of ingest; return None if it has not run."""
    path = places.ingested / "manifest.json"
    if not path.exists():
        return None
    lists = {
        "Rejected files": "rejects.csv",
        "Exact duplicates": "duplicates.csv",
        "Near copies": "near_copies.csv",
        "Notes on files that were used": "notes.csv",
        "Ignored files": "ignored.csv",
    }
    tables = {
        title: told(places.ingested / name, "ingest", lambda path: read_table(path, _MOST_ROWS))
        for title, name in lists.items()
    }

    def tell(path: Path) -> Data:
        found = read_json(path, "ingest")
        parts = [part["classes"] for part in found["splits"].values()]
        names = sorted({name for part in parts for name in part})[:MOST_CLASSES]
        classes = {name: [int(part.get(name, 0)) for part in parts] for name in names}
        warnings = [str(warning) for warning in found["warnings"]]
        shown = {title: table for title, table in tables.items() if table.total}
        return Data({str(key): int(value) for key, value in found["counts"].items()}, classes, warnings, shown)

    return told(path, "ingest", tell)


def pictures(folder: Path, stage: str, alts: Mapping[str, str]) -> dict[str, Picture]:
    """Return those of the pictures in `alts` that a stage has drawn, by file name without extension.

    Args:
        folder: Folder of the pictures.
        stage: Stage that draws them.
        alts: File name without extension -> description of the picture.

    Raises:
        PipelineError: A file is not a readable picture.
    """
    found = {name: folder / f"{name}.png" for name in alts}
    return {
        name: Picture(told(path, stage, picture_uri), alts[name], path.as_posix())
        for name, path in found.items()
        if path.exists()
    }


def details(places: Places, stage: str, tell: Callable[[Any], Any]) -> Any:
    """Return what `tell` makes of the figures of a stage; None if there are none."""
    path = places.reports / stage / "details.json"
    return told(path, stage, lambda path: tell(read_json(path, stage))) if path.exists() else None


def accuracies(linear: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the name of each classifier with its accuracy and interval, as text; empty without labels."""
    if "accuracy" not in linear:
        return []
    rows = {"Linear probe on the exported backbone": linear, "Nearest neighbours on the same embeddings": linear["knn"]}
    if by_clip := linear.get("by_clip"):
        rows |= {"Linear probe by clip, on mean embeddings": by_clip, "Nearest neighbours by clip": by_clip["knn"]}
    rows |= {
        f"Linear probe on {word}": linear[key] for key, word in (BASELINES | _OTHER_BASELINES).items() if key in linear
    }
    rows |= {f"Linear probe on {name}": rival for name, rival in linear.get("rivals", {}).items()}
    return [(name, percent(found)) for name, found in rows.items()]


def confusions(places: Places, labels: Sequence[str]) -> list[Confusion]:
    """Return the pairs of classes that the linear probe confuses, the most frequent first; empty without a probe.

    Args:
        places: Locations of the products.
        labels: Labels of all labelled test images, in the order of the store.

    Raises:
        PipelineError: The predictions are damaged, or belong to other images.
    """
    path = places.reports / "linear_eval" / "confusion.csv"
    if not path.exists():
        return []

    def tell(path: Path) -> list[Confusion]:
        columns, *rows = open_table(path)
        actual, predicted = columns.index("actual"), columns.index("predicted")
        pairs = [(row[actual], row[predicted]) for row in rows]
        if pairs and [name for name, _ in pairs] != list(labels):
            raise ValueError("its labels are not those of the test images in the store")
        wrong = Counter(pair for pair in pairs if pair[0] != pair[1])
        most = sorted(wrong, key=lambda pair: (-wrong[pair], pair))[:_MOST_PAIRS]
        return [Confusion(*pair, [number for number, found in enumerate(pairs) if found == pair]) for pair in most]

    return told(path, "linear_eval", tell)


def shipped(places: Places) -> list[Shipped]:
    """Return the ONNX files of a run, with their sizes and digests."""
    paths = [path for folder in places.models for path in sorted(folder.glob("*.onnx"))]
    return [Shipped(path.as_posix(), path.stat().st_size, sha256(path)) for path in paths]


def readable(content: Any) -> str:
    """Return a product's content as indented JSON."""
    return json.dumps(content, indent=2, ensure_ascii=False)


def proofs(export: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the checks that the exported files passed, each with its figure."""
    parity, energy = export["parity"], export["energy"]
    rows = [
        ("Largest difference of an embedding from torch's", f"{parity['max_difference']:.1e}"),
        ("Smallest cosine of an embedding with torch's", f"{parity['min_cosine']:.9f}"),
        (
            "Compared on",
            f"{counted(parity['originals'], 'original image')}, one of them also resized, flipped and in grey: "
            f"{counted(len(parity['shapes']), 'shape')} in all, with {', '.join(parity['providers'])}",
        ),
        ("Mean cosine between an image and its stored canvas", f"{export['canvas_cosine']['mean']:.6f}"),
        ("Embedding dimension", str(export["embedding_dim"])),
        ("Largest difference of an energy from torch's", f"{energy['max_difference']:.1e}"),
    ]
    if "text" in export:
        rows.append(("Largest difference of a text embedding from torch's", f"{export['text']['max_difference']:.1e}"))
    if energy.get("auroc") is not None:
        rows.append(("AUROC of the energy: two views of one image against views of two", f"{energy['auroc']:.3f}"))
    return rows


def figures(last: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of the last step of pretraining, as text."""
    return [(name.replace("_", " "), "not finite" if value is None else f"{value:.4g}") for name, value in last.items()]


def warnings(path: Path) -> list[str]:
    """Return the warnings of a pretraining run, as sentences."""
    return [f"Step {found['step']}: {found['warning']}" for found in read_json(path, "pretrain")]


def clusters(linear: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict on the clusters, and the classes that are merged or split."""
    found = linear["clusters"]
    merged = [(name, f"{share:.0%}") for name, share in found.get("merged_pairs", {}).items()]
    split = [(name, f"{parts:.1f}") for name, parts in found.get("split_classes", {}).items()]
    keys = ("verdict", "images", "k_star", "stability", "reason")
    return {key: found.get(key) for key in keys} | {"merged": merged, "split": split}


def recalls(places: Places) -> Table | None:
    """Return the recall of the linear probe for each class of the test images; None without a probe."""
    path = places.reports / "linear_eval" / "recalls.csv"
    if not path.exists():
        return None
    return told(path, "linear_eval", lambda path: read_table(path, MOST_CLASSES))


def budgets(places: Places) -> list[tuple[str, int, str, dict[str, str]]]:
    """Return each label budget, its images, its finding, and each arm's accuracy as text; empty without labels."""

    def tell(found: Mapping[str, Any]) -> list[tuple[str, int, str, dict[str, str]]]:
        return [
            (
                name,
                int(budget["images"]),
                str(budget["finding"]),
                {title: percent(budget[arm]) for arm, title in _ARMS.items() if arm in budget},
            )
            for name, budget in found.get("budgets", {}).items()
        ]

    return details(places, "finetune", tell) or []


def digests(places: Places, card: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the digests that identify a run: those of its images, parameters and weights."""
    manifest = places.ingested / "manifest.json"
    source = told(manifest, "ingest", lambda path: str(read_json(path, "ingest")["source"]["sha256"]))
    named = {
        "Parameters of pretraining": "params_sha256",
        "Weights": "weights_sha256",
        "Starting weights": "start_sha256",
    }
    return [("Images and labels", source), *((title, card[key]) for title, key in named.items() if card.get(key))]
