"""A frame of a film is what a viewer sees at its time, whatever was read before."""

import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from benchmarks.films import write_film
from ssl_pipeline.data.film_frames import frame_path, read_frame, split_frame_path
from ssl_pipeline.data.film_sample import sample_film
from ssl_pipeline.data.remarks import RejectedError

LIMIT = 10**8
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
Colour = tuple[int, int, int]


def read(film: Path, seconds: float) -> Image.Image:
    return read_frame(film.parent, frame_path(film.name, seconds), LIMIT)


def corners(image: Image.Image) -> list[Colour]:
    """Return the colours of the corners: upper left, upper right, lower left, lower right."""
    pixels = np.asarray(image.convert("RGB"))
    (height, width), margin = pixels.shape[:2], 4
    places = itertools.product((margin, height - margin), (margin, width - margin))
    return [tuple(map(int, pixels[place])) for place in places]  # type: ignore[misc]


def assert_colours(found: list[Colour], expected: list[Colour], within: int = 8) -> None:
    np.testing.assert_allclose(np.array(found, int), np.array(expected, int), atol=within)


def grey(number: int) -> Colour:
    return (8 * number,) * 3


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "mode"),
    [
        ("film.mp4", "libx264", "yuv420p", "RGB"),
        ("film.mkv", "libx264", "yuv420p10le", "RGB"),
        ("film.mp4", "libx265", "yuv420p", "RGB"),
        ("film.avi", "mjpeg", "yuvj420p", "RGB"),
        ("film.nut", "ffv1", "yuv444p", "RGB"),
        ("film.avi", "rawvideo", "bgr24", "RGB"),
        ("film.mov", "png", "rgba", "RGBA"),
        ("film.flv", "libx264", "yuv420p", "RGB"),
        ("film.ts", "libx264", "yuv420p", "RGB"),
    ],
)
def test_frames_are_read_in_any_format_and_order(tmp_path: Path, name: str, codec: str, pixels: str, mode: str) -> None:
    options = {"x265-params": "log-level=none"} if codec == "libx265" else {"g": "6"}
    film = write_film(tmp_path / name, codec, pixels=pixels, options=options)
    seconds = sample_film(film, 5, 100).seconds
    assert len(seconds) == 10
    frames = {time: read(film, time) for time in seconds}
    for time, frame in frames.items():
        assert (frame.mode, frame.size) == (mode, (64, 48))
        assert_colours(corners(frame), [RED, GREEN, BLUE, grey(round(10 * time))])
    for time in reversed(seconds):
        assert read(film, time).tobytes() == frames[time].tobytes()


def test_where_times_are_guessed_no_frame_counts_as_lost(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.avi", "libx264", frames=30)  # frames are stored out of order
    seconds = sample_film(film, 5, 100).seconds
    assert len(seconds) > 12
    frames = [read(film, time).tobytes() for time in seconds]
    assert frames == [read(film, time).tobytes() for time in reversed(seconds)][::-1]


def test_grey_films_are_grey(tmp_path: Path) -> None:
    for pixels in ("gray", "gray16le"):
        frame = read(write_film(tmp_path / f"{pixels}.mkv", "ffv1", pixels=pixels), 1.0)
        assert frame.mode == "L"
        assert_colours(corners(frame)[3:], [grey(10)], 1)


@pytest.mark.parametrize(
    ("turned", "expected"),
    [
        ((0, False), [RED, GREEN, BLUE]),
        ((90, False), [GREEN, grey(10), RED]),  # a quarter turn anticlockwise
        ((180, False), [grey(10), BLUE, GREEN]),
        ((270, False), [BLUE, RED, grey(10)]),
        ((0, True), [GREEN, RED, grey(10)]),
        ((90, True), [grey(10), GREEN, BLUE]),
    ],
)
def test_frames_are_upright(tmp_path: Path, turned: tuple[int, bool], expected: list[Colour]) -> None:
    frame = read(write_film(tmp_path / "film.mp4", turned=turned), 1.0)
    assert frame.size == ((48, 64) if turned[0] in (90, 270) else (64, 48))
    assert_colours(corners(frame)[:3], expected)


def test_pixels_become_square(tmp_path: Path) -> None:
    wide = write_film(tmp_path / "wide.mp4", sample_aspect_ratio=Fraction(2))
    high = write_film(tmp_path / "high.mp4", sample_aspect_ratio=Fraction(1, 2))
    nonsense = write_film(tmp_path / "nonsense.mp4", sample_aspect_ratio=Fraction(200))
    assert [read(film, 0).size for film in (wide, high, nonsense)] == [(128, 48), (64, 96), (64, 48)]


def test_odd_sizes(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mkv", "ffv1", pixels="yuv420p", size=(37, 19))
    assert read(film, 0.5).size == (37, 19)


def test_of_interlaced_frames_one_moment_is_read(tmp_path: Path) -> None:
    """Lines of two moments would form a comb, which no single moment has."""
    film = tmp_path / "film.mkv"
    write_film(film, comb=True, pixels="yuv444p", options={"x264-params": "interlaced=1:tff=1", "crf": "5"})
    frame = read(film, 1.0)
    assert frame.size == (64, 48)
    assert_colours(corners(frame), [RED, GREEN, BLUE, grey(10)])
    pixels = np.asarray(frame, int)
    np.testing.assert_allclose(pixels[4:20:2], pixels[5:21:2], atol=8)  # no line is white, as the comb would be


def test_large_films_that_do_not_say_so_have_the_colours_of_hd(tmp_path: Path) -> None:
    settings = {"codec": "ffv1", "pixels": "yuv444p", "frames": 2}
    large = write_film(tmp_path / "large.mkv", size=(64, 720), colours="ITU709", **settings)
    small = write_film(tmp_path / "small.mkv", size=(64, 48), colours="ITU601", **settings)
    for film in (large, small):
        assert_colours(corners(read(film, 0))[:3], [RED, GREEN, BLUE], 2)


def test_frames_beyond_the_limit_are_not_converted(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4")
    with pytest.raises(RejectedError, match="too large: frames of 64 x 48 px"):
        read_frame(tmp_path, frame_path(film.name, 0), 4 * 64 * 48 - 1)


def test_a_gap_is_skipped_without_decoding_what_lies_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = write_film(tmp_path / "film.mp4", frames=60, options={"g": "5", "bf": "0"})
    read(film, 0.0)
    monkeypatch.setattr("ssl_pipeline.data.film_frames._MOST_DECODED", 6)
    assert_colours(corners(read(film, 2.7))[:1], [RED])


def test_frames_from_damage_to_the_next_keyframe_are_rejected(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", frames=20, options={"g": "5", "bf": "0"})
    sound = [read(film, number / 10).tobytes() for number in range(20)]
    with av.open(str(film)) as opened:
        packet = [packet for packet in opened.demux(video=0) if packet.size][7]
    damaged = bytearray(film.read_bytes())
    assert packet.pos is not None
    damaged[packet.pos + 4 : packet.pos + packet.size] = bytes([255]) * (packet.size - 4)
    other = tmp_path / "damaged.mp4"
    other.write_bytes(damaged)
    seconds = sample_film(other, 10, 100).seconds
    assert len(seconds) == 20
    for number in range(20):
        if 7 <= number < 10:
            with pytest.raises(RejectedError, match=f"broken: the film is damaged at {number / 10:.3f} s"):
                read(other, number / 10)
        else:
            assert read(other, number / 10).tobytes() == sound[number]


def test_paths_of_frames() -> None:
    assert split_frame_path(frame_path("a/b.mp4", 12.3456)) == ("a/b.mp4", 12.346)
    assert split_frame_path("a/b.mp4") is None
    with pytest.raises(RejectedError, match="path contains no time"):
        read_frame(Path(), "a/b.mp4", LIMIT)
