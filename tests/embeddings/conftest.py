"""A graph in place of a backbone, and a folder of digits of two sizes."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ssl_pipeline_stages.embed import embed
from tests.embeddings.graphs import write_graph
from tests.factories import digit_images

Embed = Callable[..., Result]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a graph that takes 8-bit RGB; embeddings have 48 numbers, and transparent pixels become orange."""
    return write_graph(tmp_path_factory.mktemp("model") / "backbone.onnx")


@pytest.fixture
def pile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a current folder with images/ of 23 digits in two folders; every third digit is 20 px wide."""
    monkeypatch.chdir(tmp_path)
    for number, digit in enumerate(digit_images(23)):
        path = Path("images", "ab"[number % 2], f"{number:02}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(digit)
        (image.resize((20, 12)) if number % 3 == 0 else image).save(path)
    return tmp_path


@pytest.fixture
def call(model: Path, pile: Path) -> Embed:
    """Return a function that calls the command with the small backbone, in the folder of the pile."""

    def call(*words: object) -> Result:
        return CliRunner().invoke(embed, ["--model", str(model), *map(str, words)], catch_exceptions=False)

    return call
