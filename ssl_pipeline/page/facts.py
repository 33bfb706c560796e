"""What the stages left, gathered for a page: each part is there only where its products are."""

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

_MOST_ROWS = 20  # rows of a list of files
_MOST_PAIRS = 8  # pairs of classes that are confused
_OTHER_BASELINES = {
    "random_encoder_uncalibrated": "the same encoder untrained, as it starts",
    "raw_pixels": "raw pixels",
    "colour_histogram": "a colour histogram",
}
_ARMS = {
    "finetune": "pretrained, fine-tuned",
    "probe": "pretrained, frozen probe",
    "random": "random weights, fine-tuned alike",
    "start": "what pretraining started from, fine-tuned alike",
    "scratch": "same network from scratch",
}
"""What is compared at each label budget."""


@dataclass(frozen=True)
class Places:
    """Where the products of a run lie; any of them may be missing.

    Attributes:
        ingested: What ingest leaves.
        augmented: What augment leaves.
        reports: The folder of all reports.
        card: The card of the trained encoder.
        backbone: The exported backbone.
        models: Folders of files that ship.
    """

    ingested: Path
    augmented: Path
    reports: Path
    card: Path
    backbone: Path
    models: tuple[Path, ...]

    @property
    def store(self) -> Path:
        """The store of the images."""
        return self.ingested / "store"


class Picture(NamedTuple):
    """A picture that a stage drew.

    Attributes:
        uri: The picture itself, as a data URI.
        alt: What there is to see, for those who cannot see it.
        path: The path of the file.
    """

    uri: str
    alt: str
    path: str


class Data(NamedTuple):
    """What ingest found.

    Attributes:
        counts: What is counted -> its number.
        classes: Name of a class -> its images in each split; the first classes only.
        warnings: Sentences.
        lists: What is listed -> its table, of lists that are not empty.
    """

    counts: dict[str, int]
    classes: dict[str, list[int]]
    warnings: list[str]
    lists: dict[str, Table]


class Confusion(NamedTuple):
    """Two classes of which one was taken for the other.

    Attributes:
        actual: The class of the images.
        predicted: What they were taken for.
        numbers: The numbers of these images among the labelled ones of the test split, from 0.
    """

    actual: str
    predicted: str
    numbers: list[int]


class Shipped(NamedTuple):
    """A file that ships.

    Attributes:
        path: The path of the file.
        size: Its size, bytes.
        sha256: Its digest, in hex.
    """

    path: str
    size: int
    sha256: str


def read_data(places: Places) -> Data | None:
    """Read what ingest found; None where it has not run."""
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
    """Return those of some pictures that a stage has drawn, by the names of their files without the ending.

    Args:
        folder: The folder of the pictures.
        stage: The stage.
        alts: Name -> what there is to see.

    Raises:
        PipelineError: One is no picture.
    """
    found = {name: folder / f"{name}.png" for name in alts}
    return {
        name: Picture(told(path, stage, picture_uri), alts[name], path.as_posix())
        for name, path in found.items()
        if path.exists()
    }


def details(places: Places, stage: str, tell: Callable[[Any], Any]) -> Any:
    """Return what a function makes of the figures of a stage; None where there are none."""
    path = places.reports / stage / "details.json"
    return told(path, stage, lambda path: tell(read_json(path, stage))) if path.exists() else None


def accuracies(linear: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what the accuracies are of, and the accuracies in words, best known first; empty without labels."""
    if "accuracy" not in linear:
        return []
    rows = {"Linear probe on the exported backbone": linear, "Nearest neighbours, the same embeddings": linear["knn"]}
    if by_clip := linear.get("by_clip"):
        rows |= {"The same by clip, of the mean of its frames": by_clip, "Neighbours by clip": by_clip["knn"]}
    rows |= {
        f"Linear probe on {word}": linear[key] for key, word in (BASELINES | _OTHER_BASELINES).items() if key in linear
    }
    rows |= {f"Linear probe on {name}": rival for name, rival in linear.get("rivals", {}).items()}
    return [(name, percent(found)) for name, found in rows.items()]


def confusions(places: Places, labels: Sequence[str]) -> list[Confusion]:
    """Return which classes the linear probe takes for another, the most frequent pairs first; empty without a probe.

    Args:
        places: The places of the products.
        labels: The labels of all test images that have one, in the order of the store.

    Raises:
        PipelineError: The predictions are damaged, or are not of these images.
    """
    path = places.reports / "linear_eval" / "confusion.csv"
    if not path.exists():
        return []

    def tell(path: Path) -> list[Confusion]:
        columns, *rows = open_table(path)
        actual, predicted = columns.index("actual"), columns.index("predicted")
        pairs = [(row[actual], row[predicted]) for row in rows]
        if pairs and [name for name, _ in pairs] != list(labels):
            raise ValueError("it describes other images than the store contains")
        wrong = Counter(pair for pair in pairs if pair[0] != pair[1])
        most = sorted(wrong, key=lambda pair: (-wrong[pair], pair))[:_MOST_PAIRS]
        return [Confusion(*pair, [number for number, found in enumerate(pairs) if found == pair]) for pair in most]

    return told(path, "linear_eval", tell)


def shipped(places: Places) -> list[Shipped]:
    """Return the ONNX files that a run left, with their digests."""
    paths = [path for folder in places.models for path in sorted(folder.glob("*.onnx"))]
    return [Shipped(path.as_posix(), path.stat().st_size, sha256(path)) for path in paths]


def readable(content: Any) -> str:
    """Return a product's content as indented JSON."""
    return json.dumps(content, indent=2, ensure_ascii=False)


def proofs(export: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was proved of the exported files, and by which figure."""
    parity, energy = export["parity"], export["energy"]
    rows = [
        ("Largest difference from torch, of any embedding", f"{parity['max_difference']:.1e}"),
        ("Least cosine with torch's embedding", f"{parity['min_cosine']:.9f}"),
        (
            "Compared on",
            f"{counted(parity['originals'], 'original image')}, and one of them also reshaped, turned and in grey: "
            f"{counted(len(parity['shapes']), 'shape')} in all, by {', '.join(parity['providers'])}",
        ),
        ("Cosine between an image and its stored canvas, mean", f"{export['canvas_cosine']['mean']:.6f}"),
        ("Length of an embedding", str(export["embedding_dim"])),
        ("Largest difference of the energy from torch", f"{energy['max_difference']:.1e}"),
    ]
    if "text" in export:
        rows.append(("Largest difference of the text tower from torch", f"{export['text']['max_difference']:.1e}"))
    if energy.get("auroc") is not None:
        rows.append(("Views of one image told from views of two, by energy (AUROC)", f"{energy['auroc']:.3f}"))
    return rows


def figures(last: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of the last step of pretraining, in words."""
    return [(name.replace("_", " "), "not finite" if value is None else f"{value:.4g}") for name, value in last.items()]


def warnings(path: Path) -> list[str]:
    """Return the warnings of a pretraining, in sentences."""
    return [f"Step {found['step']}: {found['warning']}" for found in read_json(path, "pretrain")]


def clusters(linear: Mapping[str, Any]) -> dict[str, Any]:
    """Return the verdict on the clusters, and the classes that are merged or split."""
    found = linear["clusters"]
    merged = [(name, f"{share:.0%}") for name, share in found.get("merged_pairs", {}).items()]
    split = [(name, f"{parts:.1f}") for name, parts in found.get("split_classes", {}).items()]
    keys = ("verdict", "images", "k_star", "stability", "reason")
    return {key: found.get(key) for key in keys} | {"merged": merged, "split": split}


def recalls(places: Places) -> Table | None:
    """Return the share of each class's test images that the linear probe finds; None without a probe."""
    path = places.reports / "linear_eval" / "recalls.csv"
    if not path.exists():
        return None
    return told(path, "linear_eval", lambda path: read_table(path, MOST_CLASSES))


def budgets(places: Places) -> list[tuple[str, int, str, dict[str, str]]]:
    """Return each label budget, its images, what was found, and each arm's accuracy in words; empty without labels."""

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
    """Return what a run is known by: the digests of its images, its parameters and its weights."""
    manifest = places.ingested / "manifest.json"
    source = told(manifest, "ingest", lambda path: str(read_json(path, "ingest")["source"]["sha256"]))
    named = {
        "Parameters of pretraining": "params_sha256",
        "Weights": "weights_sha256",
        "Weights it started from": "start_sha256",
    }
    return [("Images and labels", source), *((title, card[key]) for title, key in named.items() if card.get(key))]
