"""Tables that the stages left, as far as a page shows them."""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

__all__ = ["MOST_CLASSES", "Table", "open_table", "read_table"]

MOST_CLASSES = 200
"""Classes that a table or a legend shows, at most."""


class Table(NamedTuple):
    """The first rows of a table.

    Attributes:
        columns: The names of the columns.
        rows: The first rows.
        total: The number of all rows.
    """

    columns: list[str]
    rows: list[list[str]]
    total: int


def open_table(path: Path) -> Iterator[list[str]]:
    """Yield the lines of a CSV file, the names of its columns first.

    Raises:
        ValueError: It is no CSV, or its lines are not of equal length.
        OSError: It cannot be read.
    """
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        width = None
        try:
            for line in csv.reader(file, strict=True):
                width = width or len(line)
                if len(line) != width:
                    raise ValueError(f"a line has {len(line)} cells instead of {width}")
                yield line
        except csv.Error as error:
            raise ValueError(str(error)) from error
    if width is None:
        raise ValueError("it is empty")


def read_table(path: Path, most: int) -> Table:
    """Read the first rows of a CSV file, and count all.

    Args:
        path: The file.
        most: Rows to keep.

    Raises:
        ValueError: It is no CSV, or its lines are not of equal length.
        OSError: It cannot be read.
    """
    lines = open_table(path)
    columns = next(lines)
    rows = list(islice(lines, most))
    return Table(columns, rows, len(rows) + sum(1 for _ in lines))
