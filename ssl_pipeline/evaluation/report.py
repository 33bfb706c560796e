"""What a study found, as data, and the one way in which it is written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ssl_pipeline.data.tables import write_table
from ssl_pipeline.products import atomic_folder, write_json

__all__ = ["Report", "Table", "write_report"]


class Table(NamedTuple):
    """A table: the names of its columns, and its rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Report:
    """The findings of a study.

    Attributes:
        figures: What metrics.json holds.
        tables: Name of a CSV file -> its table.
        pictures: Functions that each draw into a given folder, from data that they carry.
        lines: The findings in words, for people.
    """

    figures: Mapping[str, Any]
    tables: Mapping[str, Table]
    pictures: Sequence[Callable[[Path], None]]
    lines: Sequence[str]


def write_report(folder: Path, report: Report) -> None:
    """Write the tables, the pictures in pictures/, and last metrics.json, each of them whole or not at all."""
    for name, table in report.tables.items():
        write_table(folder / name, table.columns, table.rows)
    with atomic_folder(folder / "pictures") as pictures:
        for draw in report.pictures:
            draw(pictures)
    write_json(folder / "metrics.json", report.figures)
