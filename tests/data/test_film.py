"""Which frames are taken from a film: at what rate, and how many; and which files are not films."""

from pathlib import Path

import av
import pytest

from benchmarks.films import write_film, write_sound
from ssl_pipeline.data.film_sample import sample_film
from ssl_pipeline.data.remarks import RejectedError


def test_frames_are_those_shown_at_regular_times(tmp_path: Path) -> None:
    film = write_film(tmp_path / "film.mp4", frames=20)
    assert sample_film(film, 2, 100).seconds == (0.0, 0.5, 1.0, 1.5)
    assert sample_film(film, 3, 100).seconds == (0.0, 0.3, 0.6, 1.0, 1.3, 1.6)  # shown at 1/3, 2/3, 1 s, ...
    assert sample_film(film, 1000, 100).seconds == tuple(round(number / 10, 3) for number in range(20))
    first = sample_film(film, 10, 7)
    assert (len(first.seconds), first.more) == (7, True)
    assert not sample_film(film, 10, 20).more


def test_at_a_variable_rate_presentation_times_count(tmp_path: Path) -> None:
    times = [0, 0.1, 0.2, 3.0, 3.05, 3.1, 3.15, 10.0]
    film = write_film(tmp_path / "film.mkv", times=times)
    assert sample_film(film, 1, 100).seconds == (0.0, 0.2, 3.0, 3.15, 10.0)
    assert sample_film(film, 0.1, 100).seconds == (0.0, 10.0)


def test_a_thousand_hours_are_read_in_no_time(tmp_path: Path) -> None:
    hour = 3600.0
    film = write_film(tmp_path / "film.mkv", times=[0, 1, hour, 500 * hour, 1000 * hour])
    assert sample_film(film, 30, 600).seconds == (0.0, 1.0, hour, 500 * hour, 1000 * hour)
    assert sample_film(film, 30, 2) == sample_film(film, 30, 2)._replace(seconds=(0.0, 1.0), more=True)


def test_a_film_that_is_cut_off_is_kept_up_to_there_and_told(tmp_path: Path) -> None:
    whole = write_film(tmp_path / "film.mkv", "ffv1", frames=30)
    assert sample_film(whole, 10, 100).missing == 0
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    found = sample_film(cut, 10, 100)
    assert 5 < len(found.seconds) < 20
    assert found.missing == pytest.approx(3.0, abs=0.2)


def test_frames_far_from_a_keyframe_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film = write_film(tmp_path / "film.mp4", frames=20, options={"g": "100", "bf": "0"})
    monkeypatch.setattr("ssl_pipeline.data.film_sample._MOST_TO_DECODE", 12)
    found = sample_film(film, 10, 100)
    assert (found.seconds[-1], found.far) == (1.2, True)
    monkeypatch.setattr("ssl_pipeline.data.film_sample._MOST_TO_DECODE", -1)
    with pytest.raises(RejectedError, match="too slow: even its first frame"):
        sample_film(film, 10, 100)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"This is a text.\n" * 40, "not a film: unknown container"),
        (b"#EXTM3U\n#EXTINF:1,\nhttp://192.0.2.1/a.ts\n", "not a film: unknown container"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", "not a film: unknown container"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "not a film: it has no frame index"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a film: unknown container"),
    ],
)
def test_what_is_no_film_is_rejected(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "film.mp4").write_bytes(content)
    with pytest.raises(RejectedError, match=reason):
        sample_film(tmp_path / "film.mp4", 1, 10)


def test_a_playlist_reaches_no_other_film(tmp_path: Path) -> None:
    other = write_film(tmp_path / "other.ts", frames=3)
    for name, text in {
        "a.mp4": f"#EXTM3U\n#EXTINF:1,\n{other}\n",
        "b.mp4": f"ffconcat version 1.0\nfile {other}\n",
    }.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(RejectedError, match="not a film"):
            sample_film(tmp_path / name, 1, 10)


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    with pytest.raises(RejectedError, match=r"no video stream \(audio\)"):
        sample_film(write_sound(tmp_path / "film.mp4"), 1, 10)


def test_a_film_without_frames_is_rejected(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "film.avi"), "w") as film:
        stream = film.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        film.start_encoding()
    with pytest.raises(RejectedError, match="no frames"):
        sample_film(tmp_path / "film.avi", 1, 10)


def test_a_folder_or_nothing_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    for name, reason in {"folder.mp4": "not a regular file", "nothing.mp4": "No such file"}.items():
        with pytest.raises(RejectedError, match=f"unreadable: {reason}"):
            sample_film(tmp_path / name, 1, 10)
