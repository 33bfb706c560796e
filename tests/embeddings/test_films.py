"""`embed` for frames of films: a path names film and time, and `search` reads the frame again by its path."""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from benchmarks.films import write_film
from ssl_pipeline_stages.search import search
from tests.embeddings.conftest import Embed


def paths() -> list[str]:
    return pq.read_table("embeddings.parquet").column("path").to_pylist()


@pytest.fixture
def film(pile: Path) -> Path:
    return write_film(Path("images/film.mp4"), frames=12)


def test_frames_of_films_are_embedded_where_a_rate_is_given(call: Embed, film: Path) -> None:
    call("images")
    assert len(paths()) == 23
    Path("images/text.mov").write_text("no film")
    done = call("images", "--fps", 2)
    frames = [f"images/film.mp4#t={seconds}" for seconds in ("0.000", "0.500", "1.000")]
    assert paths()[23:] == frames
    assert 'images/text.mov,"not a film' in Path("embeddings.rejects.csv").read_text()
    assert "26 images embedded" in done.stdout
    shutil.copy(film, "other.mp4")
    call("other.mp4", "images/a/00.png", "--fps", 1)
    assert paths() == ["other.mp4#t=0.000", "other.mp4#t=1.000", "images/a/00.png"]


def test_a_frame_is_found_by_another(call: Embed, film: Path, model: Path) -> None:
    call("images", "--fps", 5)
    found = CliRunner().invoke(search, [f"{film}#t=0.400", "--model", str(model), "-k", "3"], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    assert all("film.mp4#t=" in line for line in found.stdout.splitlines()[1:4])
    assert Path("neighbours.png").stat().st_size > 1000
