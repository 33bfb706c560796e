"""CSV tables written by the stages, cut to what a page shows."""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

__all__ = ["MOST_CLASSES", "Table", "open_table", "read_table"]

MOST_CLASSES = 200
"""Largest number of classes in a table or a legend."""


class Table(NamedTuple):
    """The first rows of a table.

    Attributes:
        columns: Names of the columns.
        rows: First rows of the table, as lists of cells.
        total: Number of rows in the file.
    """

    columns: list[str]
    rows: list[list[str]]
    total: int


def open_table(path: Path) -> Iterator[list[str]]:
    """Yield the rows of a CSV file, the names of its columns first.

    Raises:
        ValueError: The file is empty or not CSV, or its rows differ in length.
        OSError: The file cannot be read.
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
    """Read the first rows of a CSV file and count all of them.

    Args:
        path: Path of the file.
        most: Largest number of rows to keep.

    Raises:
        ValueError: The file is empty or not CSV, or its rows differ in length.
        OSError: The file cannot be read.
    """
    lines = open_table(path)
    columns = next(lines)
    rows = list(islice(lines, most))
    return Table(columns, rows, len(rows) + sum(1 for _ in lines))
