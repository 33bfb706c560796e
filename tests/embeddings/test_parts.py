"""Parts of a run: which of them are used, and that a table does not show where they begin and end."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from ssl_pipeline.embeddings import parts as module
from ssl_pipeline.embeddings.parts import Parts, Row, embedded, rejected, schema

WHOLE = schema(2, energy=False)
COLUMNS = WHOLE.remove(WHOLE.get_field_index("reason"))


def filled(folder: Path, *cuts: int) -> Parts:
    """Write ten images, the fourth of them rejected, in parts that begin and end at the cuts."""
    parts = Parts(folder, WHOLE)
    rows = [Row(f"{number}.png", 8, 8, "00", "broken" if number == 3 else "") for number in range(10)]
    for start, stop in itertools.pairwise(cuts):
        parts.add(start, rows[start:stop], np.arange(2 * start, 2 * stop, dtype=np.float32).reshape(-1, 2), None)
    return parts


def test_a_table_does_not_show_where_parts_were_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_ROW_GROUP", 4)
    one, many = filled(tmp_path / "one", 0, 10), filled(tmp_path / "many", 0, 1, 3, 6, 10)
    tables = [list(embedded([parts], COLUMNS)) for parts in (one, many)]
    assert [len(table) for table in tables[0]] == [4, 4, 1]
    for first, second in zip(*tables, strict=True):
        assert first.equals(second)
        assert {first["embedding"].num_chunks, second["embedding"].num_chunks} == {1}
    assert list(rejected([many])) == [("3.png", "broken")]
    assert [row for table in tables[0] for row in table["path"].to_pylist()] == [
        f"{n}.png" for n in range(10) if n != 3
    ]


def test_parts_count_up_to_the_first_that_is_missing(tmp_path: Path):
    parts = filled(tmp_path, 0, 2, 5, 10)
    assert parts.done() == 10
    next(tmp_path.glob("*2-*5.arrow")).unlink()
    assert parts.done() == 2
