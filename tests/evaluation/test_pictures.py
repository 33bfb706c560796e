from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from ssl_pipeline.evaluation.pictures import confusion


@pytest.mark.parametrize("classes", [2, 10, 130])
def test_any_number_of_classes(classes, tmp_path: Path):
    counts = np.diag(np.arange(classes)) + np.eye(
        classes, k=1, dtype=np.int64
    )  # the first class has few, some have none
    counts[-1] = 0
    confusion(counts, [f"class {n}" for n in range(classes)], "title", tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as picture:
        assert 300 < min(picture.size) <= max(picture.size) < 2200


NAMES = [r"$\frac$", "猫", "a" * 200, ""]


def test_names_that_a_font_or_mathematics_could_trip_over(tmp_path: Path):
    confusion(np.eye(4, dtype=np.int64), NAMES, "title", tmp_path / "p.png")
    confusion(np.eye(4, dtype=np.int64), NAMES, "title", tmp_path / "q.png")
    assert (tmp_path / "p.png").read_bytes() == (tmp_path / "q.png").read_bytes()


def test_colours_are_shares_of_the_actual_class(tmp_path: Path):
    confusion(np.array([[900, 100], [5, 5]]), ["a", "b"], "title", tmp_path / "p.png")
    pixels = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).reshape(-1, 3)
    common = Counter(map(tuple, pixels.tolist())).most_common(4)
    cells = {tuple(map(int, colormaps["Blues"](share, bytes=True)[:3])) for share in (0.9, 0.1, 0.5)}
    assert {colour for colour, _ in common} == cells | {(255, 255, 255)}
