"""The findings of a study as data, and the function that writes them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from ssl_pipeline.data.tables import write_table
from ssl_pipeline.products import write_json

__all__ = ["Report", "Table", "write_report"]


class Table(NamedTuple):
    """A table: the names of its columns, and its rows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class Report:
    """The findings of a study.

    Attributes:
        figures: All figures, for details.json.
        headline: The few figures that are worth comparing between runs, for metrics.json.
        tables: Name of a CSV file -> table.
        pictures: Functions, each of which draws one or more pictures into the folder that it is called with.
        lines: Findings as sentences, for the reader of the terminal.
        texts: Name of a text file -> lines.
    """

    figures: Mapping[str, Any]
    headline: Mapping[str, float]
    tables: Mapping[str, Table]
    pictures: Sequence[Callable[[Path], None]]
    lines: Sequence[str]
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)


def write_report(folder: Path, report: Report) -> None:
    """Write tables, texts, pictures/, details.json and metrics.json into a folder.

    If there is no picture, pictures/no_pictures.txt contains the findings in words, which say why.
    """
    for name, table in report.tables.items():
        write_table(folder / name, table.columns, table.rows)
    for name, lines in report.texts.items():
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    pictures = folder / "pictures"
    pictures.mkdir()
    for draw in report.pictures:
        draw(pictures)
    if not report.pictures:  # DVC warns about an empty folder in every run
        (pictures / "no_pictures.txt").write_text("\n".join(report.lines) + "\n", encoding="utf-8")
    write_json(folder / "details.json", report.figures)
    write_json(folder / "metrics.json", report.headline)
