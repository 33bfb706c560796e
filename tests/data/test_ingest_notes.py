"""Ingest: notes of the decoder about single files reach the lists, the manifest and the warnings."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_pipeline.data import parallel
from tests.data.test_ingest import classes, digit, run, save, table
from tests.data.test_parallel import SLOW


def test_what_was_left_out_of_images_is_listed_and_named(tmp_path: Path) -> None:
    root, out = classes(tmp_path / "pile"), tmp_path / "out"
    for number in range(5):
        pages = [Image.fromarray(digit(100 + 10 * number + page)) for page in range(3)]
        save(root / "stacks" / f"{number}.tif", pages[0], save_all=True, append_images=pages[1:])
    save(root / f"{'x' * 90}" / "dim.png", digit(200).astype(np.uint16) * 16)
    manifest = run(root, out)
    pages_kind, bits_kind = "have further pages, which were ignored", "use no more than 12 of their 16 bits"
    assert manifest["notes"] == {pages_kind: 5, bits_kind: 1}
    listed = table(out / "notes.csv")
    assert listed.keys() == {*(f"stacks/{number}.tif" for number in range(5)), f"{'x' * 90}/dim.png"}
    assert listed["stacks/3.tif"]["note"] == f"{pages_kind}: 2 beside the first"
    named = [line for line in manifest["warnings"] if "notes.csv" in line]
    assert named == [
        f"Files that {pages_kind}: 5 (stacks/0.tif, stacks/1.tif, stacks/2.tif and 2 more), see data/ingested/notes.csv.",
        f"Files that {bits_kind}: 1 ({'x' * 90}/dim.png), see data/ingested/notes.csv.",
    ]


def test_a_file_that_takes_too_long_is_a_reject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, out = classes(tmp_path / "pile"), tmp_path / "out"
    (root / "0" / "bomb.jpg").write_bytes(SLOW)
    monkeypatch.setattr(parallel, "SECONDS", 0.3)
    manifest = run(root, out)
    assert manifest["counts"]["rejected"] == 1
    assert table(out / "rejects.csv")["0/bomb.jpg"]["reason"].startswith("too slow: decoding took more than 0.3 s")
