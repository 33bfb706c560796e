"""Labels and groups of the stored images, as arrays: a million of them load in some hundredths of a second.

`store/labels.npz` has two int64 arrays (n,) for each split, in the order of its rows, such as `train_labels` and
`train_groups`. The names of the classes are in `classes`, as the bytes of a JSON array, because names may contain
anything.
"""

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.store import SPLITS, IndexRow, SplitName
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import record, verified
from ssl_pipeline.remedies import remake

__all__ = ["Labels", "read_labels", "write_labels"]

_NAME = "labels.npz"


class Labels(NamedTuple):
    """Labels and groups of the images of a split.

    Attributes:
        classes: Names of the classes of the whole store, sorted.
        labels: Indices of `classes`, (n,) int64; -1 for images without a label.
        groups: Group numbers, (n,) int64, equal for images of one group; each image without a group has its own number.
    """

    classes: tuple[str, ...]
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.int64]


def write_labels(store: Path, rows: Iterable[IndexRow]) -> None:
    """Write the labels and groups of a store.

    Args:
        store: Folder of the store.
        rows: All rows of the store's index.
    """
    ordered = sorted(rows, key=lambda row: row.row)
    classes = sorted({row.label for row in ordered} - {""})
    numbers = {label: number for number, label in enumerate(classes)} | {"": -1}
    arrays = {"classes": np.frombuffer(json.dumps(classes).encode(), np.uint8)}
    for split in SPLITS:
        mine = [row for row in ordered if row.split == split]
        named: dict[str, int] = {}
        groups = [named.setdefault(row.group, number) if row.group else number for number, row in enumerate(mine)]
        arrays[f"{split}_labels"] = np.array([numbers[row.label] for row in mine], np.int64)
        arrays[f"{split}_groups"] = np.array(groups, np.int64)
    np.savez(store / _NAME, **arrays)  # type: ignore[arg-type]  # NumPy's stub mistakes the names for its own option
    record(store / _NAME)


def read_labels(store: Path, name: SplitName) -> Labels:
    """Read the labels of a split; `classes` are those of the whole store, so that indices mean the same in every split.

    Raises:
        PipelineError: The labels are missing or damaged, or an earlier version wrote the store.
    """
    path = store / _NAME
    if not path.exists() and (store / "index.csv").exists():
        raise PipelineError(
            f"{store} was written by an earlier version, which kept labels only in index.csv: {remake('ingest')}."
        )
    try:
        with verified(path, "ingest").open("rb") as opened, np.load(opened) as file:
            classes = tuple(json.loads(file["classes"].tobytes()))
            return Labels(classes, file[f"{name}_labels"], file[f"{name}_groups"])
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise PipelineError(f"{path} is damaged ({error}): {remake('ingest')}.") from error
