"""The questions about labels: which are likely to be wrong, what to label next, and what else embeddings reveal."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from ssl_pipeline.curate_config import CurateConfig
from ssl_pipeline.curation.catalogue import Catalogue
from ssl_pipeline.curation.finding import LISTED, Finding, Seen, cells, end_of
from ssl_pipeline.curation.label_errors import LabelErrors, can_be_probed, find_label_errors, folds_of, out_of_fold
from ssl_pipeline.curation.label_next import choose_next
from ssl_pipeline.curation.pictures import contact_sheet
from ssl_pipeline.curation.shortcuts import find_shortcuts
from ssl_pipeline.data.tables import harmless
from ssl_pipeline.terminal import counted, shown

__all__ = ["study_label_errors", "study_label_next", "study_shortcuts"]

_SHOWN, _COLUMNS = 40, 10  # images on a contact sheet, and images per row

Numbers = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


def study_label_errors(seen: Seen, seed: int) -> Finding:
    """Find labels that are likely to be wrong; the finding is empty if there are too few labels to fit a probe."""
    catalogue, count = seen.catalogue, len(seen.catalogue)
    places = np.flatnonzero(catalogue.labels >= 0)
    labels, columns = catalogue.labels[places], ("own_label_probability", "suspected_label")
    folds = folds_of(seen.kin()[places], seed)
    if not can_be_probed(labels, folds):
        return Finding({}, {name: [""] * count for name in columns})
    chances = out_of_fold(catalogue.embeddings[places], labels, folds, len(catalogue.classes), seed)
    found = find_label_errors(chances, labels)
    own = np.full(count, np.nan)
    own[places] = chances[np.arange(len(places)), labels]
    suspected = [""] * count
    for number in found.suspected.tolist():
        suspected[places[number]] = harmless(catalogue.classes[found.better[number]])
    accuracy = float((chances.argmax(axis=1) == labels).mean())
    listed = [
        {
            "path": seen.path(places[number]),
            "label": catalogue.classes[labels[number]],
            "likelier": catalogue.classes[found.better[number]],
            "own_label_probability": float(own[places[number]]),
        }
        for number in found.suspected[:LISTED].tolist()
    ]
    suspects = counted(len(found.suspected), "label is", "labels are")
    lines = [
        f"labels: {suspects} suspected to be wrong by a probe with an accuracy of {100 * accuracy:.0f}% on "
        f"{len(places):,} images; the lower this accuracy, the more of the suspects are merely hard images"
    ]
    figures = {"suspected": len(found.suspected), "probe_accuracy": accuracy, "listed": listed}
    pictures = [partial(_draw_suspects, seen, places, labels, found, own)] if len(found.suspected) else []
    headline = {"suspected_labels": len(found.suspected)}
    return Finding(figures, dict(zip(columns, (cells(own), suspected), strict=True)), lines, headline, pictures)


def _draw_suspects(
    seen: Seen, places: Numbers, labels: Numbers, found: LabelErrors, own: Float64, folder: Path
) -> None:
    order, classes = found.suspected[:_SHOWN], seen.catalogue.classes
    captions = [
        [
            f"label: {classes[labels[number]]}",
            f"{classes[found.better[number]]}?",
            end_of(seen.path(places[number]))[-16:],
        ]
        for number in order
    ]
    contact_sheet(seen.catalogue.pictures(places[order]), captions, _COLUMNS, folder / "label_errors.png")


def study_label_next(seen: Seen, settings: CurateConfig) -> Finding:
    """Choose which images to label next, among those that are not in the test split."""
    catalogue = seen.catalogue
    pool = np.flatnonzero([row.split != "test" for row in catalogue.rows])
    labelled = catalogue.labels[pool] >= 0
    way = settings.label_next_by
    choice = choose_next(catalogue.embeddings[pool], labelled, settings.label_next, settings.seed, way)
    chosen, typical, drawn = pool[choice.numbers], choice.typical, len(choice.numbers) - choice.typical
    ranks = [""] * len(catalogue)
    for rank, number in enumerate(chosen.tolist(), 1):
        ranks[number] = str(rank)
    figures = {
        "by": way,
        "typical": typical,
        "paths": [seen.path(number) for number in chosen.tolist()],
    }
    if not len(chosen):
        return Finding(figures, {"label_next": ranks})
    proposed = counted(len(chosen), "image is", "images are")
    lines = [
        f"label next: {proposed} proposed, out of {int((~labelled).sum()):,} without a label: {typical:,} typical, "
        f"{drawn:,} drawn at random"
    ]
    return Finding(figures, {"label_next": ranks}, lines, pictures=[partial(_draw_next, seen, chosen[:_SHOWN])])


def _draw_next(seen: Seen, chosen: Numbers, folder: Path) -> None:
    captions = [[f"{rank}", end_of(seen.path(number))[-16:]] for rank, number in enumerate(chosen, 1)]
    contact_sheet(seen.catalogue.pictures(chosen), captions, _COLUMNS, folder / "label_next.png")


def study_shortcuts(seen: Seen, seed: int) -> Finding:
    """Measure how much the embeddings reveal about files and cameras."""
    catalogue = seen.catalogue
    found = find_shortcuts(catalogue.embeddings, _facts(catalogue), catalogue.labels, seen.kin(), seed)
    figures = {
        name: {
            "images": shortcut.images,
            "values": shortcut.values,
            "chance": shortcut.chance,
            **({} if shortcut.by_label is None else {"by_label": shortcut.by_label}),
            "accuracy": shortcut.accuracy,
            "told": shortcut.told,
        }
        for name, shortcut in found.items()
    }
    lines = [
        f"shortcuts: the embeddings predict {name} for {100 * shortcut.accuracy:.0f}% of the images (chance: "
        f"{100 * shortcut.chance:.0f}%"
        + (")" if shortcut.by_label is None else f", the label alone: {100 * shortcut.by_label:.0f}%)")
        for name, shortcut in found.items()
        if shortcut.above_chance
    ]
    if rest := [name for name, shortcut in found.items() if not shortcut.above_chance]:
        lines.append(f"shortcuts: the embeddings predict no better than chance: {', '.join(rest)}")
    return Finding(figures, {}, [shown(line, 300) for line in lines])


def _facts(catalogue: Catalogue) -> Mapping[str, Sequence[object]]:
    """Return the known properties of the files, by their names in a sentence."""
    rows = catalogue.rows
    return {
        "the size in pixels": [float(row.width * row.height) for row in rows],
        "the size in bytes": [float(row.file_bytes) if row.file_bytes else math.nan for row in rows],
        "the aspect": [row.width / row.height for row in rows],
        "the folder": [str(PurePosixPath(row.path).parent) for row in rows],
        "the camera": [row.camera for row in rows],
        "the date of capture": [_seconds(row.taken) for row in rows],
    }


def _seconds(moment: str) -> float:
    """Return a time of the index in seconds since 1970; NaN if there is none."""
    return (datetime.fromisoformat(moment) - datetime(1970, 1, 1)).total_seconds() if moment else math.nan
