"""Real films, if they are available: all of their frames can be read."""

import numpy as np
import pytest

from benchmarks.project import ROOT
from ssl_pipeline.data.film_sample import sample_film
from ssl_pipeline_plugins.sources.clips import Clips

FILMS = ROOT.parent / "shared" / "data" / "clips"


@pytest.mark.skipif(not FILMS.is_dir(), reason="needs the real films, which are not part of the project")
def test_real_films_are_read_whole() -> None:
    images = Clips(path=str(FILMS), fps=2).open()
    assert not images.rejects
    assert len({record.group for record in images.records}) == 3
    for record in images.records[::7]:
        image = images.read(record.path, 10**9)
        assert not isinstance(image, bytes)
        assert image.size in ((1280, 720), (640, 272), (193, 144))
        assert np.asarray(image).std() > 10
    assert sample_film(FILMS / "bigbuckbunny.mp4", 25, 1000).seconds[-1] == pytest.approx(5.24, abs=0.05)
