"""What the folders and labels.csv of a pile of images say about each: its label, its split, its group, its captions.

Read as follows, with the names of splits and of unlabelled/ in upper or lower case:

    labels.csv beside flat images              path, and any of label, split, group, caption
    train/<class>/..., val/<class>/..., test/  splits, with classes in them or without
    <class>/...                                classes; deeper folders belong to their class
    unlabelled/..., or images beside folders   images without labels

A folder that holds all there is says nothing, and is looked into. What could be read in two ways is refused. An image
with several captions has a line for each.
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
    """What a source says of one image.

    Attributes:
        path: Its path in the source.
        label: The name of its class; None where it has none.
        split: train, val or test; None: ours to choose.
        group: What it shows with other images, such as a patient; for a frame, its clip. None: nothing is known.
        captions: Texts that say what it shows.
        seconds: The time of a frame from the beginning of its clip, s; None for an image that is no frame.

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
    """What labels.csv says of an image, in the line of that number and in further ones with captions."""

    line: int
    label: str | None
    split: SplitName | None
    group: str | None
    captions: tuple[str, ...] = ()


class Table(NamedTuple):
    """labels.csv: the columns it has, and a row for each path."""

    where: str
    columns: frozenset[str]
    rows: dict[str, Row]


def _key(name: str) -> str:
    """Normalise a name, so that names compare equal however their accents are encoded: macOS decomposes them."""
    return unicodedata.normalize("NFC", name)


def find_root(names: Sequence[str], tables: Iterable[str]) -> str:
    """Return the folder in which the layout begins: "" or a path with a final "/", where one folder holds all the rest.

    Args:
        names: Names of images, at least one.
        tables: Names of files called labels.csv.
    """
    tables = set(tables)
    # names are sorted, so that what the first and the last have in common is common to all
    first, last = (name.split("/")[:-1] for name in (min(names), max(names)))
    root = ""
    for top, other in zip(first, last, strict=False):
        if root + TABLE in tables or top != other or top.lower() in SPLIT_NAMES or top.lower() in UNLABELLED_NAMES:
            break
        root += top + "/"
    return root


def parse_table(content: bytes, where: str) -> Table:
    """Parse labels.csv.

    Raises:
        PipelineError: It cannot be read; the message names the line.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise PipelineError(f"{where} is not UTF-8 text in line {line} ({error}): save it as CSV in UTF-8.") from error
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
        raise PipelineError(f"{where}, line {lines.line_num}: not valid CSV ({error}).") from error
    return Table(where, frozenset(header), rows)


def _check_header(header: list[str], where: str) -> None:
    if "path" not in header:
        found = ", ".join(header) or "nothing"
        raise PipelineError(
            f"{where}, line 1: a column 'path' is required (label, split, group and caption are optional), separated "
            f"by commas; found: {found}."
        )
    for name in header:
        meant = hint(name, [column for column in COLUMNS[:-1] if column not in header], 0.7)
        if "caption" not in header:
            meant = meant or hint(name, ["caption"], 0.9)  # captions, and not location or action
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
        raise PipelineError(f"{where}: '{split}' is not a split; write train, val or test, or leave it empty.")
    label, group = found.get("label") or None, found.get("group") or None
    captions = (given["caption"],) if "caption" in given else ()  # as it is, with its spaces
    return path, Row(line, label, SPLIT_NAMES[split.lower()] if split else None, group, captions)


def _joined(row: Row, other: Row, where: str) -> Row:
    """Add the caption of a further line; what else that says must not differ."""
    for name in ("label", "split", "group"):
        one, another = getattr(row, name), getattr(other, name)
        if one and another and one != another:
            raise PipelineError(f"{where} has the {name} '{another}', and '{one}' in line {row.line}.")
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
    """Give each image its label, split, group and captions.

    Args:
        names: Names of images, sorted.
        root: The root that `find_root` found.
        table: labels.csv, where there is one. A column that it has is what counts; an image that it does not name is
            unlabelled. The split may also be the folder's.
        known: Whether a file is there, though it is not among the names.
        thing: What the names are names of, for messages.

    Raises:
        PipelineError: The folders could be read in two ways, or the table names what is not there.
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
    """Return the top folders that are splits, and which; nothing where the top folders are classes."""
    tops = {name.partition("/")[0] for name in inner if "/" in name}
    splits = {top: SPLIT_NAMES[top.lower()] for top in tops if top.lower() in SPLIT_NAMES}
    others = sorted(top for top in tops - splits.keys() if top.lower() not in UNLABELLED_NAMES)
    if not splits or not others:
        return splits
    nested = any(name.partition("/")[0] in splits and name.count("/") > 1 for name in inner)
    if len(splits) == 1 and not nested:
        return {}  # a class that is called train, beside bus and car
    raise PipelineError(
        f"ingest.source: beside {root}{sorted(splits)[0]}/ lies {root}{others[0]}/, which is not a split: the "
        "folders could be splits or classes. Put images without a label into unlabelled/, or name splits and "
        "labels in a labels.csv."
    )


def _by_folder(short: str, splits: dict[str, SplitName]) -> tuple[SplitName | None, str | None]:
    """Split and label of an image, by the folders it lies in."""
    *folders, _ = short.split("/")
    split = splits.get(folders[0]) if folders else None
    if split:
        folders = folders[1:]
    label = _key(folders[0]) if folders and folders[0].lower() not in UNLABELLED_NAMES else None
    return split, label
