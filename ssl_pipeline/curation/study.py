"""Answer all questions about the images in one report; this module writes no files."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.curate_config import CurateConfig
from ssl_pipeline.curation.catalogue import Catalogue
from ssl_pipeline.curation.clusters import Clusters, find_clusters
from ssl_pipeline.curation.finding import LISTED, Finding, Seen, cells, end_of
from ssl_pipeline.curation.label_study import study_label_errors, study_label_next, study_shortcuts
from ssl_pipeline.curation.near_duplicates import Pair, find_near_duplicates
from ssl_pipeline.curation.neighbourhood import look_around
from ssl_pipeline.curation.outliers import outlier_scores
from ssl_pipeline.curation.pictures import contact_sheet, pair_sheet
from ssl_pipeline.data.tables import harmless
from ssl_pipeline.evaluation.report import Report, Table
from ssl_pipeline.terminal import counted, shown

__all__ = ["study_images"]

_ODD_SHOWN = 40
_PAIRS_SHOWN = 24
_COLUMNS, _PAIR_COLUMNS = 10, 5

Numbers = npt.NDArray[np.int64]
Draw = Callable[[Path], None]


def study_images(settings: CurateConfig, catalogue: Catalogue) -> Report:
    """Answer all questions about the images.

    Args:
        settings: Section `curate` of params.yaml.
        catalogue: Images and their embeddings.
    """
    around = look_around(catalogue.embeddings, catalogue.groups)
    seen = Seen(catalogue, around, find_near_duplicates(around, catalogue.near_copies))
    findings = {
        "images": Finding({"images": len(catalogue)}, _facts(seen)),
        "near_duplicates": _near_duplicates(seen),
        "outliers": _outliers(seen),
        "clusters": _clusters(seen, find_clusters(catalogue.embeddings, settings.clusters, settings.seed)),
        "label_errors": study_label_errors(seen, settings.seed),
        "label_next": study_label_next(seen, settings),
        "shortcuts": study_shortcuts(seen, settings.seed),
    }
    columns = {name: column for finding in findings.values() for name, column in finding.columns.items()}
    return Report(
        figures={name: finding.figures for name, finding in findings.items()},
        headline={name: value for finding in findings.values() for name, value in finding.headline.items()},
        tables={"images.csv": Table(list(columns), list(zip(*columns.values(), strict=True)))},
        pictures=[draw for finding in findings.values() for draw in finding.pictures],
        lines=[f"curate: {line}" for finding in findings.values() for line in finding.lines],
    )


def _facts(seen: Seen) -> dict[str, list[Any]]:
    rows, nearest = seen.catalogue.rows, seen.around.ids[:, 0]
    return {
        "path": [harmless(row.path, True) for row in rows],
        "split": [row.split for row in rows],
        "label": [harmless(row.label) for row in rows],
        "nearest": [harmless(rows[number].path, True) if number >= 0 else "" for number in nearest],
        "similarity": cells(seen.around.similarities[:, 0]),
    }


def _near_duplicates(seen: Seen) -> Finding:
    rows, found = seen.catalogue.rows, seen.duplicates
    sizes = np.bincount(found.groups[found.groups >= 0])
    splits = [rows[number].split for number in range(len(rows))]
    leaks = [pair for pair in found.pairs if splits[pair.first] != splits[pair.second]]
    listed = sorted(found.pairs, key=lambda pair: splits[pair.first] == splits[pair.second])
    lines = [
        f"{sizes.sum():,} images are near-duplicates of others, in {counted(len(sizes), 'group')}"
        if len(sizes)
        else "no near-duplicates"
    ]
    lines += [
        f"leakage: {shown(rows[pair.first].path, 100)} ({splits[pair.first]}) and "
        f"{shown(rows[pair.second].path, 100)} ({splits[pair.second]}) are near-duplicates"
        for pair in leaks[:3]
    ]
    return Finding(
        figures={
            "images": int(sizes.sum()),
            "groups": len(sizes),
            "pairs": len(found.pairs),
            "pairs_across_splits": len(leaks),
            "intrinsic_dimension": found.dimension,
            "least_distance": found.distance,
            "listed": [_pair(seen, pair) for pair in listed[:LISTED]],
        },
        headline={"near_duplicates_across_splits": len(leaks)},
        columns={"near_duplicates": [number if number >= 0 else "" for number in found.groups.tolist()]},
        lines=lines,
        pictures=[partial(_draw_pairs, seen, listed[:_PAIRS_SHOWN])] if listed else [],
    )


def _pair(seen: Seen, pair: Pair) -> dict[str, Any]:
    one, other = seen.catalogue.rows[pair.first], seen.catalogue.rows[pair.second]
    return {
        "paths": [one.path, other.path],
        "splits": [one.split, other.split],
        "similarity": pair.similarity,
    }


def _draw_pairs(seen: Seen, pairs: Sequence[Pair], folder: Path) -> None:
    images = seen.catalogue.pictures(np.array([pair[:2] for pair in pairs]).ravel())
    captions = []
    for pair in pairs:
        one, other = seen.catalogue.rows[pair.first], seen.catalogue.rows[pair.second]
        captions.append([f"{one.split}: {end_of(one.path)}", f"{other.split}: {end_of(other.path)}"])
    pair_sheet(
        images.reshape(len(pairs), 2, *images.shape[1:]), captions, _PAIR_COLUMNS, folder / "near_duplicates.png"
    )


def _outliers(seen: Seen) -> Finding:
    scores = outlier_scores(seen.around, seen.duplicates.groups)
    order = np.argsort(-scores, kind="stable")
    listed = [{"path": seen.path(number), "score": float(scores[number])} for number in order[:LISTED]]
    first, most = seen.path(order[0]), float(scores[order[0]])
    return Finding(
        figures={"highest": most, "listed": listed},
        columns={"outlier_score": cells(scores)},
        lines=[f"oddest: {shown(first, 100)}, whose neighbours are {most:.1f} times as far away as usual"],
        pictures=[partial(_draw_odd, seen, order[:_ODD_SHOWN], scores)],
    )


def _draw_odd(seen: Seen, order: Numbers, scores: npt.NDArray[np.float64], folder: Path) -> None:
    captions = [[f"{scores[number]:.2f}", end_of(seen.path(number))] for number in order]
    contact_sheet(seen.catalogue.pictures(order), captions, _COLUMNS, folder / "outliers.png")


def _clusters(seen: Seen, found: Clusters) -> Finding:
    labels, classes = seen.catalogue.labels, seen.catalogue.classes
    described = []
    for number, central in enumerate(found.central.tolist()):
        members = found.numbers == number
        named = labels[members & (labels >= 0)]
        counts = np.bincount(named, minlength=len(classes))
        common = {"label": classes[counts.argmax()], "share": float(counts.max() / len(named))} if len(named) else {}
        described.append({"images": int(members.sum()), "central": seen.path(central), **common})
    return Finding(figures=described, columns={"cluster": found.numbers.tolist()})
