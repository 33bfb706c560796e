"""Derive the label, split, group and captions of each image from folders and labels.csv.

The layouts are as follows; names of splits and of unlabelled/ may be in upper or lower case:

    labels.csv beside flat images              path, and any of label, split, group, caption
    train/<class>/..., val/<class>/..., test/  splits, with or without classes in them
    <class>/...                                classes; deeper folders belong to their class
    unlabelled/..., or images beside folders   images without labels

A single folder that contains everything else is skipped. An ambiguous layout is refused. In labels.csv, an image with
several captions has one line per caption.
"""

import csv
import io
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ssl_pipeline.data.store import SplitName
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import shown
from ssl_pipeline.validation import hint

__all__ = ["SPLIT_NAMES", "TABLE", "Record", "Table", "find_root", "parse_table", "read_layout"]

TABLE = "labels.csv"
COLUMNS = ("path", "label", "split", "group", "caption")
SPLIT_NAMES: dict[str, SplitName] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
UNLABELLED_NAMES = {"unlabelled", "unlabeled"}


class Record(NamedTuple):
    """Information that a source provides about one image.

    Attributes:
        path: Path of the image in the source.
        label: Name of its class; None if it has no label.
        split: Split that the source assigns, train, val or test; None lets the pipeline choose.
        group: Name of what it shows together with other images, such as a patient, or the clip of a frame; None if it
            has no group.
        captions: Texts that describe the image.
        seconds: Time of a frame since the beginning of its clip, s; None for an image that is not a frame.

    Examples:
        >>> Record("cat/1.png", label="cat").split is None
        True
    """

    path: str
    label: str | None = None
    split: SplitName | None = None
    group: str | None = None
    captions: tuple[str, ...] = ()
    seconds: float | None = None


class Row(NamedTuple):
    """Entry of labels.csv for an image, from the line with number `line` and further lines with captions."""

    line: int
    label: str | None
    split: SplitName | None
    group: str | None
    captions: tuple[str, ...] = ()


class Table(NamedTuple):
    """Parsed labels.csv.

    Attributes:
        where: Path of the table, for messages.
        columns: Names of its columns.
        rows: Row of each image, by path.
    """

    where: str
    columns: frozenset[str]
    rows: dict[str, Row]


def _key(name: str) -> str:
    """Normalise a name, so that names compare equal however accents are encoded; macOS decomposes them."""
    return unicodedata.normalize("NFC", name)


def find_root(names: Sequence[str], tables: Iterable[str]) -> str:
    """Return the folder in which the layout begins: "", or a path with a final "/" if one folder contains all the rest.

    Args:
        names: Names of images, at least one.
        tables: Names of files called labels.csv.
    """
    tables = set(tables)
    # the folders that the first and the last name in alphabetical order share are common to all names
    first, last = (name.split("/")[:-1] for name in (min(names), max(names)))
    root = ""
    for top, other in zip(first, last, strict=False):
        if root + TABLE in tables or top != other or top.lower() in SPLIT_NAMES or top.lower() in UNLABELLED_NAMES:
            break
        root += top + "/"
    return root


def parse_table(content: bytes, where: str) -> Table:
    """Parse labels.csv.

    Args:
        content: Bytes of the table.
        where: Path of the table, for messages.

    Raises:
        PipelineError: The table is not valid; the message names the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PipelineError(f"{where}, line {line}: not UTF-8 ({error}). Save the table as CSV in UTF-8.") from error
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows: dict[str, Row] = {}
    try:
        header = [name.strip().lower() for name in next(lines, [])]
        _check_header(header, where)
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            here = f"{where}, line {lines.line_num}"
            path, row = _parse_row(header, cells, here, lines.line_num)
            if path in rows and "caption" not in header:
                raise PipelineError(f"{here}: '{path}' already occurs in line {rows[path].line}.")
            rows[path] = _joined(rows[path], row, f"{here}: '{path}'") if path in rows else row
    except csv.Error as error:
        raise PipelineError(f"{where}, line {lines.line_num}: not valid CSV ({error}). Correct the line.") from error
    return Table(where, frozenset(header), rows)


def _check_header(header: list[str], where: str) -> None:
    if "path" not in header:
        found = ", ".join(header) or "nothing"
        raise PipelineError(
            f"{where}, line 1: the column 'path' is missing; found: {found}. Name the columns in the first line, "
            "separated by commas (label, split, group and caption are optional)."
        )
    for name in header:
        meant = hint(name, [column for column in COLUMNS[:-1] if column not in header], 0.7)
        if "caption" not in header:
            meant = meant or hint(name, ["caption"], 0.9)  # matches 'captions', but not 'location' or 'action'
        if name not in COLUMNS and meant:
            raise PipelineError(f"{where}, line 1: unknown column '{name}'.{meant}")
    for name in COLUMNS:
        if header.count(name) > 1:
            raise PipelineError(f"{where}, line 1: the column '{name}' occurs twice.")


def _parse_row(header: list[str], cells: list[str], where: str, line: int) -> tuple[str, Row]:
    if len(cells) > len(header):
        raise PipelineError(f"{where}: {len(cells)} cells, but {len(header)} columns; quote cells that contain commas.")
    given = dict(zip(header, cells, strict=False))
    found = {name: cell.strip() for name, cell in given.items()}
    path = _key(found["path"].replace("\\", "/").removeprefix("./"))
    if not path:
        raise PipelineError(f"{where}: the path is empty.")
    split = found.get("split") or None
    if split and split.lower() not in SPLIT_NAMES:
        raise PipelineError(f"{where}: '{split}' is not a split. Write train, val or test, or leave the cell empty.")
    label, group = found.get("label") or None, found.get("group") or None
    captions = (given["caption"],) if "caption" in given else ()  # unchanged, with its spaces
    return path, Row(line, label, SPLIT_NAMES[split.lower()] if split else None, group, captions)


def _joined(row: Row, other: Row, where: str) -> Row:
    """Add the caption of a further line of an image; label, split and group must not differ."""
    for name in ("label", "split", "group"):
        one, another = getattr(row, name), getattr(other, name)
        if one and another and one != another:
            raise PipelineError(f"{where} has the {name} '{another}', but '{one}' in line {row.line}. Make them agree.")
    return Row(
        row.line,
        row.label or other.label,
        row.split or other.split,
        row.group or other.group,
        row.captions + other.captions,
    )


def read_layout(
    names: Sequence[str], root: str, table: Table | None, known: Callable[[str], bool], thing: str = "image"
) -> list[Record]:
    """Return a record with label, split, group and captions for each image.

    Args:
        names: Names of images, sorted.
        root: Folder in which the layout begins, from `find_root`.
        table: Parsed labels.csv; None if there is none. If it has a column `label`, folders give no labels, and images
            that it does not name are unlabelled. Without a split in the table, the split of the folder applies.
        known: Function that returns whether a file exists although it is not among the names.
        thing: Word for what the names refer to, for messages.

    Raises:
        PipelineError: The layout is ambiguous, or the table names a file that does not exist.
    """
    inner = [name[len(root) :] for name in names]
    splits = _split_folders(inner, root)
    rows = {} if table is None else table.rows
    records = []
    for name, short in zip(names, inner, strict=True):
        split, label = _by_folder(short, splits)
        row = rows.get(_key(short))
        if table is not None and "label" in table.columns:
            label = row.label if row else None
        if row is not None:
            split = row.split or split
        records.append(Record(name, label, split, *((row.group, row.captions) if row else ())))
    if table is not None:
        _check_all_there(table, {_key(short) for short in inner}, lambda short: known(root + short), thing)
    return records


def _check_all_there(table: Table, there: set[str], known: Callable[[str], bool], thing: str) -> None:
    for path, row in table.rows.items():
        if path not in there and not known(path):
            meant = hint(path, there) if len(there) <= 10_000 else ""
            more = meant or f" Paths are relative to the folder of the {thing}s."
            raise PipelineError(f"{table.where}, line {row.line}: there is no {thing} '{shown(path, 200)}'.{more}")


def _split_folders(inner: Sequence[str], root: str) -> dict[str, SplitName]:
    """Return the split of each top folder that is a split; empty if the top folders are classes."""
    tops = {name.partition("/")[0] for name in inner if "/" in name}
    splits = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    others = sorted(top for top in tops - splits.keys() if top.lower() not in UNLABELLED_NAMES)
    if not splits or not others:
        return splits
    nested = any(name.partition("/")[0] in splits and name.count("/") > 1 for name in inner)
    if len(splits) == 1 and not nested:
        return {}  # a class with the name train, beside bus and car
    raise PipelineError(
        f"ingest.source: {root}{sorted(splits)[0]}/ is a split, but {root}{others[0]}/ beside it is not, so these "
        "folders could be splits or classes. Move images without a label to unlabelled/, or name splits and labels in "
        "a labels.csv."
    )


def _by_folder(short: str, splits: dict[str, SplitName]) -> tuple[SplitName | None, str | None]:
    """Return the split and label of an image according to the folders that contain it."""
    *folders, _ = short.split("/")
    split = splits.get(folders[0]) if folders else None
    if split:
        folders = folders[1:]
    label = _key(folders[0]) if folders and folders[0].lower() not in UNLABELLED_NAMES else None
    return split, label
