"""`ssl-pipeline search`: the nearest images of a table, and what it refuses."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ssl_pipeline.embeddings import search as search_module
from ssl_pipeline.embeddings import table
from ssl_pipeline.runtime import Backbone
from ssl_pipeline_stages import search as search_command
from ssl_pipeline_stages.embed import embed
from ssl_pipeline_stages.search import search
from tests.embeddings.graphs import write_graph

Search = Callable[..., Result]


@pytest.fixture
def call(model: Path, pile: Path) -> Search:
    """Return a function that calls the command on the pile's embeddings.parquet; the model lies in models/."""
    shutil.copytree(model.parent, "models")
    words = ["images", "--model", "models/backbone.onnx"]
    assert CliRunner().invoke(embed, words, catch_exceptions=False).exit_code == 0

    def call(*words: object) -> Result:
        return CliRunner().invoke(search, [*map(str, words)], catch_exceptions=False)

    return call


def listed(done: Result) -> list[tuple[str, float]]:
    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()[1:-1]]
    assert [int(rank) for rank, _, _ in lines] == list(range(1, len(lines) + 1))
    return [(path, float(similarity)) for _, similarity, path in lines]


def test_it_lists_the_nearest_of_all_and_draws_them(call: Search, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(table, "_ROWS_AT_A_TIME", 5)
    Image.open("images/a/04.png").resize((16, 16)).save("query.png")
    done = call("query.png", "-k", "7")
    read = pq.read_table("embeddings.parquet")
    rows = np.array(read["embedding"].to_pylist())
    query = rows[read["path"].to_pylist().index("images/a/04.png")]
    expected = [read["path"][int(row)].as_py() for row in np.argsort(-(rows @ query))[:7]]
    assert done.exit_code == 0
    assert listed(done)[0][0] == "images/a/04.png"
    assert len(set(expected) & {path for path, _ in listed(done)}) >= 6
    similarities = [similarity for _, similarity in listed(done)]
    assert similarities == sorted(similarities, reverse=True)
    assert similarities[0] > 0.98
    assert done.stdout.endswith("neighbours.png shows them.\n")
    drawn = np.asarray(Image.open("neighbours.png").convert("L"))
    assert (drawn[:, : drawn.shape[1] // 6] < 128).any()  # the query comes first


def test_without_matplotlib_the_list_is_printed_all_the_same(call: Search, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(search_command, "find_spec", lambda name: None)
    done = call("images/a/04.png", "-k", "3")
    assert (done.exit_code, len(done.stdout.splitlines())) == (0, 4)
    assert done.stderr.startswith("No picture was drawn, because matplotlib is not installed")
    assert not Path("neighbours.png").exists()


def test_it_finds_model_and_images_wherever_it_is_called_from(call: Search, monkeypatch: pytest.MonkeyPatch):
    here = Path.cwd()
    (here / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    done = call("../images/a/04.png", "--index", "../embeddings.parquet", "-k", "100", "--picture", "found.png")
    assert done.exit_code == 0
    assert listed(done)[0] == ("images/a/04.png", 1.0)
    assert len(listed(done)) == 23
    (here / "models").rename(here / "moved")
    done = call("../images/a/04.png", "--index", "../embeddings.parquet")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "models/backbone.onnx, which does not exist. Give the path of this model with --model." in done.stderr
    found = call("../images/a/04.png", "--index", "../embeddings.parquet", "--model", "../moved/backbone.onnx")
    assert found.exit_code == 0


def test_of_many_matches_the_first_are_drawn_and_all_are_listed(call: Search, monkeypatch: pytest.MonkeyPatch):
    assert call("images/a/04.png", "-k", "5").exit_code == 0
    drawn = Path("neighbours.png").read_bytes()
    monkeypatch.setattr(search_module, "MOST_DRAWN", 5)
    done = call("images/a/04.png", "-k", "23")
    assert len(listed(done)) == 23
    assert done.stdout.endswith("neighbours.png shows the first 5.\n")
    assert Path("neighbours.png").read_bytes() == drawn


def test_images_that_are_gone_are_left_white(call: Search):
    Path("images/a/04.png").rename("query.png")
    done = call("query.png", "-k", "2")
    assert done.exit_code == 0
    assert listed(done)[0] == ("images/a/04.png", 1.0)


def test_another_model_is_refused(call: Search):
    write_graph(Path("models/other.onnx"), size=5)
    done = call("images/a/04.png", "--model", "models/other.onnx")
    assert done.exit_code == 1
    assert "models/other.onnx is not the model that made embeddings.parquet" in done.stderr
    shutil.move("models/other.onnx", "models/backbone.onnx")
    assert "models/backbone.onnx is not the model that made embeddings.parquet" in call("images/a/04.png").stderr


def test_values_that_are_not_finite_are_refused(call: Search, monkeypatch: pytest.MonkeyPatch):
    read = pq.read_table("embeddings.parquet")
    rows = read["embedding"].to_pylist()
    rows[20][3] = np.nan
    column = pa.array(rows, read.schema.field("embedding").type)
    pq.write_table(read.set_column(read.schema.get_field_index("embedding"), "embedding", column), "odd.parquet")
    monkeypatch.setattr(table, "_ROWS_AT_A_TIME", 8)
    done = call("images/a/04.png", "--index", "odd.parquet")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "The embedding in row 20 has values that are not finite" in done.stderr
    monkeypatch.setattr(Backbone, "__call__", lambda *_: np.full((1, 48), np.inf, np.float32))
    done = call("images/a/04.png")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "The embedding of the query has values that are not finite" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["gone.png"], 1, "gone.png cannot be used: unreadable: No such file or directory. Name an image."),
        (["notes.txt"], 1, "notes.txt cannot be used: not an image"),
        (["images"], 1, "images cannot be used: unreadable: Is a directory"),
        (["images/a/00.png", "--index", "none.parquet"], 1, "none.parquet does not exist: create it with"),
        (["images/a/00.png", "--index", "notes.txt"], 1, "notes.txt is not a table of embeddings"),
        (["images/a/00.png", "--index", "other.parquet"], 1, "other.parquet is not a table of embeddings"),
        (["images/a/00.png", "-k", "0"], 2, "-k: 0 must be at least 1."),
        (["images/a/00.png", "--picture", "found.jpg"], 2, "--picture: found.jpg must end with .png."),
    ],
)
def test_a_mistake_is_told(call: Search, words: list[str], status: int, message: str):
    Path("notes.txt").write_text("no image")
    pq.write_table(pa.table({"path": ["a"]}), "other.parquet")
    done = call(*words)
    assert (done.exit_code, done.stdout) == (status, "")
    assert f"error: {message}" in done.stderr
    assert not Path("neighbours.png").exists()
