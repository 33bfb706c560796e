"""The page shows results on texts if the model reads texts, and does not mention texts otherwise."""

import json
import shutil
from pathlib import Path

import numpy as np

from ssl_pipeline.config import Config
from ssl_pipeline.evaluation.retrieval.ranks import pair
from ssl_pipeline.evaluation.retrieval.study import OURS, retrieval_figures
from ssl_pipeline.page.page import write_page
from tests.page.conftest import places_of
from tests.page.small_run import draw

ACCURACY = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6}


def test_retrieval_and_zero_shot_have_a_section(small_run: Path, page: Path, tmp_path: Path, config: Config):
    root = Path(shutil.copytree(small_run, tmp_path / "run"))
    details = root / "reports/linear_eval/details.json"
    space = np.eye(3), np.eye(3)
    found = retrieval_figures({OURS: space}, pair([("a dog",), ("a cat",), ("a fox",)]), np.arange(3), 100, 0)
    zero_shot = {"prompts": ["a {}"], "images": 1000, "classes": 4, "chance": 0.25, **ACCURACY}
    told = {
        "retrieval": {"split": "val", **found},
        "zero_shot": zero_shot | {"random_towers": ACCURACY, "majority": ACCURACY},
    }
    details.write_text(json.dumps(json.loads(details.read_text()) | told))
    draw(root, "reports/linear_eval/pictures/retrieval.png")
    write_page("texts", places_of(root), config, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '<a href="#texts">Texts</a>' in text
    section = text[text.index('<section id="texts"') : text.index('<section id="confusion"')]
    assert "From images to texts: 3 validation images in 3 groups, 3 different captions" in section
    assert '<th scope="row">the exported towers</th><td class="n">100.0% [' in section
    assert '<th scope="row">chance</th><td class="n">33.3%</td>' in section
    assert (
        "Zero-shot classification by the names of 4 classes, with 1 prompt each: 50.0% [40.0, 60.0] of 1,000" in section
    )
    assert "Five texts, each with its nearest images" in section
    assert "(text.onnx takes tokens)" in text

    plain = page.read_text(encoding="utf-8")
    assert "text.onnx" not in plain
    assert 'id="texts"' not in plain
    assert "\n\n\n<section" not in plain
