from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from ssl_pipeline.evaluation import pictures
from ssl_pipeline.evaluation.pictures import confusion


@pytest.mark.parametrize("classes", [2, 10, 130])
def test_any_number_of_classes(classes, tmp_path: Path):
    counts = np.diag(np.arange(classes)) + np.eye(
        classes, k=1, dtype=np.int64
    )  # the first class has few images, some have none
    counts[-1] = 0
    confusion(counts, [f"class {n}" for n in range(classes)], "title", tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert 300 < min(picture.size) <= max(picture.size) < 2200


NAMES = [
    r"$\frac$",
    "猫",
    "a" * 200,
    "",
    "two\nlines\r\x1b[31m",
    "../..",
    "'\"`,;",
    "$" * 40,
    r"\$x$_^{",
    "\udce9",
    "\0",
]


def test_names_that_a_font_or_mathematics_could_trip_over(tmp_path: Path):
    counts = np.eye(len(NAMES), dtype=np.int64)
    confusion(counts, NAMES, "title", tmp_path / "p.png")
    confusion(counts, NAMES, "title", tmp_path / "q.png")
    assert (tmp_path / "p.png").read_bytes() == (tmp_path / "q.png").read_bytes()


def test_colours_are_shares_of_the_actual_class(tmp_path: Path):
    confusion(np.array([[900, 100], [5, 5]]), ["a", "b"], "title", tmp_path / "p.png")
    pixels = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).reshape(-1, 3)
    common = Counter(map(tuple, pixels.tolist())).most_common(4)
    cells = {tuple(map(int, colormaps["Blues"](share, bytes=True)[:3])) for share in (0.9, 0.1, 0.5)}
    assert {colour for colour, _ in common} == cells | {(255, 255, 255)}


def test_beyond_500_classes_rows_are_taken_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn = []
    monkeypatch.setattr(pictures, "save_picture", lambda figure, path: drawn.append(figure))
    counts = np.diag(np.arange(1001))
    counts[0, 1000] = 7
    confusion(counts, [f"class {n}" for n in range(1001)], "title", tmp_path / "p.png")
    axes = drawn[0].axes[0]
    shares = axes.get_images()[0].get_array()
    assert shares.shape == (334, 334)  # three classes per row, two in the last row
    assert shares[0, 0] == pytest.approx(3 / 10)
    assert shares[0, 333] == pytest.approx(7 / 10)
    assert axes.get_ylabel() == "actual (images), 3 classes per row, named after the first"
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["class 0 (10)", "class 9 (30)"]
