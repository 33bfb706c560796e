"""A hundred truncated, overwritten, shortened or misnamed films: each is rejected, or its frames are sound."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.films import write_film
from benchmarks.mutations import damage
from ssl_pipeline.data import film_frames
from ssl_pipeline.data.film_frames import frame_path, read_frame
from ssl_pipeline.data.film_sample import sample_film
from ssl_pipeline.data.remarks import RejectedError

SOUND = {"film.mp4": "libx264", "film.mkv": "libx264", "film.avi": "mpeg4", "film.ts": "libx264", "film.flv": "libx264"}
EACH = 20  # hostile films per format


def hostile(content: bytes, number: int) -> bytes:
    """Return a film that is truncated or damaged in other ways."""
    chance = random.Random(number)
    return content[: chance.randrange(len(content))] if number % 4 == 0 else damage(content, chance)


def outcomes(film: Path, seconds: tuple[float, ...], in_order: bool) -> Iterator[bytes | str]:
    for time in seconds:
        try:
            yield read_frame(film.parent, frame_path(film.name, time), 10**7, in_order).tobytes()
        except RejectedError as reason:
            yield str(reason)


@pytest.mark.parametrize("name", SOUND)
def test_hostile_films_are_rejects_or_have_frames_that_are_the_same_in_any_order(tmp_path: Path, name: str) -> None:
    content = write_film(tmp_path / name, SOUND[name], options={"g": "6"}).read_bytes()
    films = frames = 0
    kinds: set[str] = set()
    for number in range(EACH):
        film = tmp_path / f"{number}-{name}"
        film.write_bytes(hostile(content, number))
        try:
            found = sample_film(film, 5, 50)
        except RejectedError as reason:
            kinds.add(reason.kind)
            continue
        forwards = list(outcomes(film, found.seconds, found.in_order))
        backwards = []
        for time in reversed(found.seconds):
            film_frames._opened.cache_clear()
            backwards += outcomes(film, (time,), found.in_order)
        assert forwards == backwards[::-1], film.name
        films += 1
        frames += sum(isinstance(frame, bytes) for frame in forwards)
    assert kinds <= {"not a film", "broken", "empty file", "not supported"}
    assert films >= 3  # some remain usable; an MP4 easily loses its table
    assert frames > 2 * films


def test_the_extension_does_not_count(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", frames=10)
    assert len(sample_film(film.rename(tmp_path / "film.mp4"), 10, 50).seconds) == 10
