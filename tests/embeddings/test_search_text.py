"""`ssl-pipeline search --text`: the images that a text describes, and refused input."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ssl_pipeline.runtime import TextTower
from ssl_pipeline_stages.embed import embed
from ssl_pipeline_stages.search import search
from tests.embeddings.graphs import write_graph
from tests.text_graphs import write_text_tower

Search = Callable[..., Result]
RUN = {"weights_sha256": 1234, "l2_normalized": True}


@pytest.fixture
def call(pile: Path) -> Search:
    """Return a function that calls the command on the pile's embeddings.parquet; both towers lie in models/."""
    Path("models").mkdir()
    write_graph(Path("models/backbone.onnx"), **RUN)
    write_text_tower(Path("models"), 48, **RUN)
    words = ["images", "--model", "models/backbone.onnx"]
    assert CliRunner().invoke(embed, words, catch_exceptions=False).exit_code == 0

    def call(*words: object) -> Result:
        return CliRunner().invoke(search, [*map(str, words)], catch_exceptions=False)

    return call


def test_it_finds_the_images_whose_embeddings_are_nearest_to_the_text_s(call: Search):
    done = call("--text", "a handwritten three", "-k", "6", "--picture", "three.png")
    table = pq.read_table("embeddings.parquet")
    cosines = np.array(table["embedding"].to_pylist()) @ TextTower("models/text.onnx")(["a handwritten three"])[0]
    expected = [table["path"][int(row)].as_py() for row in np.argsort(-cosines)[:6]]
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()[1:-1]]
    assert [path for _, _, path in lines] == expected
    assert [float(value) for _, value, _ in lines] == pytest.approx(np.sort(cosines)[::-1][:6].tolist(), abs=1e-4)
    assert done.stdout.endswith("three.png shows them.\n")
    drawn = np.asarray(Image.open("three.png").convert("L"))
    assert (drawn[:30] < 128).any()  # the text is drawn above the images


def test_a_text_that_is_too_long_is_told(call: Search):
    done = call("--text", "$a$ red bicycle " * 30)
    assert done.exit_code == 0
    assert "the text exceeds the 8 tokens that the model reads; its end is ignored" in done.stderr


@pytest.mark.parametrize("words", [[], ["images/a/04.png", "--text", "three"]])
def test_either_an_image_or_a_text_is_asked_for(call: Search, words: list[str]):
    done = call(*words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Name either an image (QUERY) or a text (--text 'a red bicycle')." in done.stderr


def test_a_blank_text_is_refused(call: Search):
    done = call("--text", " \n")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "--text is empty: describe what the images should show." in done.stderr


def test_a_model_that_reads_no_texts_is_told(call: Search):
    Path("models/text.onnx").unlink()
    done = call("--text", "three")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "--text: there is no models/text.onnx, so this model cannot read texts." in done.stderr
    assert not Path("neighbours.png").exists()


def test_a_text_tower_of_another_run_is_refused(call: Search):
    write_text_tower(Path("models"), 48, weights_sha256=5678, l2_normalized=True)
    done = call("--text", "three")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "models/text.onnx and models/backbone.onnx are from different runs" in done.stderr


def test_an_index_of_another_model_is_refused(call: Search):
    write_graph(Path("models/backbone.onnx"), **(RUN | {"weights_sha256": 5678}))
    done = call("--text", "three")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "is not the model that made embeddings.parquet" in done.stderr
