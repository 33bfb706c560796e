"""Tables: any name is read back unchanged, and no list of files can run formulas in a spreadsheet."""

import csv
from pathlib import Path

import pytest

from ssl_pipeline.data.store import IndexRow
from ssl_pipeline.data.tables import harmless, write_table
from ssl_pipeline.data.writer import write_index
from tests.factories import read_index

ODD = ["a\rb", "a\r\nb", "a\nb", 'a"b', "a,b", "\x1b[2Jé", "\r", "=1+1", " a ", "\x00", "'", "日本"]


def test_a_table_is_read_back_as_it_was(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", ("name", "number"), [(name, 3) for name in ODD])
    with (tmp_path / "table.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file, strict=True)) == [["name", "number"], *([name, "3"] for name in ODD)]


def test_the_index_is_read_back_as_it_was(tmp_path: Path) -> None:
    rows = [IndexRow("00", f"{name}/1.png", name, "train", name, 9, 9, number) for number, name in enumerate(ODD)]
    write_index(tmp_path, rows)
    assert read_index(tmp_path) == rows


def test_ordinary_lines_have_no_quotes_and_end_with_a_line_feed(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", ("a", "b"), [("x", 1.5)])
    assert (tmp_path / "table.csv").read_bytes() == b"a,b\nx,1.5\n"


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0.png", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    assert harmless(text, path=True) == f"./{text}"
    assert harmless(text) == f"'{text}"


def test_other_cells_stay() -> None:
    assert [harmless(text, path) for text in ("a=b", "", "1.png") for path in (False, True)] == [
        "a=b",
        "a=b",
        "",
        "",
        "1.png",
        "1.png",
    ]
