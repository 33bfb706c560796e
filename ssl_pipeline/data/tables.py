"""Write CSV files that programs read back unchanged and that people can safely open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from ssl_pipeline.products import atomic_file

__all__ = ["csv_line", "harmless", "write_table"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_line(cells: Sequence[object]) -> str:
    """Return a line of CSV that ends with a line feed and is read back unchanged, whatever the cells contain.

    Python's writer quotes carriage returns only if its own lines end with one, and readers take a carriage return that
    is not quoted for the end of a line.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()[:-2] + "\n"


def write_table(path: Path, header: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, completely or not at all."""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        file.writelines(csv_line(line) for line in (header, *lines))


def harmless(text: str, path: bool = False) -> str:
    """Return text that a spreadsheet does not take for a formula.

    Args:
        text: Text of a cell.
        path: Whether the text is a relative path. A path gets the prefix "./", which leaves its meaning unchanged;
            other text gets an apostrophe, which spreadsheets hide.
    """
    if not text.startswith(_FORMULA_STARTS):
        return text
    return f"./{text}" if path else f"'{text}"
