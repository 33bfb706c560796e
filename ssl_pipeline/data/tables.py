"""CSV files: for programs, which read back what was written, and for people, who open them in a spreadsheet."""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from ssl_pipeline.products import atomic_file

__all__ = ["csv_line", "harmless", "write_table"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_line(cells: Sequence[object]) -> str:
    """Return a line of CSV that ends with a line feed, and is read back as it was whatever the cells hold.

    Python's writer quotes a carriage return only where its own lines end with one, and a reader takes each one that is
    not quoted for the end of a line.
    """
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)
    return line.getvalue()[:-2] + "\n"


def write_table(path: Path, header: Sequence[str], lines: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, whole or not at all."""
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        file.writelines(csv_line(line) for line in (header, *lines))


def harmless(text: str, path: bool = False) -> str:
    """Return text that a spreadsheet does not take for a formula: a list of files is often opened in one.

    Args:
        text: A cell.
        path: Whether it is a relative path. That becomes another way to write the same path; other text is led by an
            apostrophe, which spreadsheets do not show.
    """
    if not text.startswith(_FORMULA_STARTS):
        return text
    return f"./{text}" if path else f"'{text}"
