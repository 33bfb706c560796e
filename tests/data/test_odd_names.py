"""Odd names: names of files and classes cannot corrupt a table or run as a formula in a spreadsheet."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline.data.labels import read_labels
from ssl_pipeline_plugins.sources.folder import Folder
from tests.factories import read_index

CLASSES = ("car\rriage", "=1+1", "\x1b[31mred", 'quo"te', "line\nfeed")


def test_odd_names_come_through(tmp_path: Path) -> None:
    digits = (load_digits().images * 15).astype(np.uint8)
    root, out = tmp_path / "pile", tmp_path / "out"
    out.mkdir()
    expected = set()
    for number in range(20):
        name = CLASSES[number % 5]
        (root / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits[number]).save(root / name / f"{number}{name}.png")
        expected.add(f"{name}/{number}{name}.png")
    (root / "=1+1" / "Icon\r").touch()
    (root / "=1+1" / "\rbroken.png").touch()
    (root / "=1+1" / "copy.png").write_bytes((root / "=1+1" / "1=1+1.png").read_bytes())
    canvas = Canvas(size=8, resize="squash", background=(255, 255, 255), min_side=6, max_megapixels=1.0)
    source = Folder(path=str(root)).open()
    manifest = ingest(source, out, canvas, Shares(0, 0.2, 0.2, 0.5), tmp_path / "reports", 1)
    assert {row.path for row in read_index(out / "store")} == expected
    assert read_labels(out / "store", "train").classes == tuple(sorted(CLASSES))
    assert manifest["classes"] == sorted(CLASSES)
    tables = {}
    for name in ("rejects", "ignored", "duplicates"):
        with (out / f"{name}.csv").open(newline="", encoding="utf-8") as file:
            (tables[name],) = csv.DictReader(file, strict=True)
    assert tables["rejects"] == {"path": "./=1+1/\rbroken.png", "reason": "empty file"}
    assert tables["ignored"]["path"] == "./=1+1/Icon\r"
    assert (tables["duplicates"]["path"], tables["duplicates"]["kept"]) == ("./=1+1/copy.png", "./=1+1/1=1+1.png")
    assert tables["duplicates"]["label"] == "'=1+1"
