"""The source `clips`: folders of frames, and films, with their labels, splits and times."""

import builtins
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmarks.films import write_film
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.store import open_split
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.testing import check_source
from ssl_pipeline_plugins.sources.clips import Clips

CANVAS = Canvas(16, "squash", (0, 0, 0), 1, 10)


def write_frames(folder: Path, count: int = 3, name: str = "{}.png") -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        seed = sum(map(ord, folder.name)) + 40 * number
        Image.new("RGB", (9, 9), (seed % 256, 5 * seed % 256, number)).save(folder / name.format(number))


def open_clips(path: Path, **options: Any) -> list[Record]:
    return list(Clips(path=str(path), **options).open().records)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Two clips of 11 frames each for training, and one for testing."""
    for clip in ("train/car/a", "train/bus/b", "test/car/c"):
        write_frames(tmp_path / "clips" / clip, 11)
    return tmp_path / "clips"


@pytest.fixture
def films(tmp_path: Path) -> Path:
    write_film(tmp_path / "films" / "car" / "a.mp4", frames=8)
    write_film(tmp_path / "films" / "bus" / "b.avi", "mjpeg", pixels="yuvj420p", frames=8)
    return tmp_path / "films"


def test_folders_of_frames_are_as_promised(folders: Path, tmp_path: Path) -> None:
    check_source(Clips, path=str(folders), change=lambda: (folders / "test/car/c/3.png").unlink())
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", folders)
    check_source(Clips, path=archive)
    assert open_clips(Path(archive)) == open_clips(folders)


def test_films_are_as_promised(films: Path) -> None:
    def change() -> None:
        film = films / "car" / "a.mp4"
        film.write_bytes(film.read_bytes()[:-1])

    check_source(Clips, path=str(films), fps=4, change=change)


def test_frames_are_in_natural_order_and_have_their_times(folders: Path) -> None:
    records = [record for record in open_clips(folders, fps=5) if record.group == "train/bus/b"]
    assert [record.path.rpartition("/")[2] for record in records] == [f"{number}.png" for number in range(11)]
    assert [record.seconds for record in records] == [number / 5 for number in range(11)]
    assert {record[1:4] for record in records} == {("bus", "train", "train/bus/b")}
    (folders / "train/bus/b/1.png").unlink()
    (folders / "train/bus/b/1.png").symlink_to("nowhere")  # the time of a broken frame still passes
    assert [record.seconds for record in open_clips(folders, fps=5) if record.group == "train/bus/b"][1] == 0.4


def test_films_have_the_label_of_their_folder(films: Path) -> None:
    assert open_clips(films, fps=2) == [
        Record(f"{clip}#t={seconds:.3f}", clip[:3], None, clip, (), seconds)
        for clip in ("bus/b.avi", "car/a.mp4")
        for seconds in (0.0, 0.5)
    ]


def test_without_classes_there_are_no_labels(tmp_path: Path) -> None:
    write_frames(tmp_path / "clips" / "a")
    write_frames(tmp_path / "clips" / "b")
    assert {(record.group, record.label) for record in open_clips(tmp_path / "clips")} == {("a", None), ("b", None)}
    assert {record.group for record in open_clips(tmp_path / "clips" / "a")} == {"."}


def test_a_table_labels_clips(folders: Path, tmp_path: Path) -> None:
    table = folders / "labels.csv"
    table.write_text("path,label,split\ntrain/car/a,tram,val\n")
    found = {record.group: record[1:3] for record in open_clips(folders)}
    assert found == {"train/car/a": ("tram", "val"), "train/bus/b": (None, "train"), "test/car/c": (None, "test")}
    table.write_text("path,label\ntrain/car/a/3.png,tram\n")
    with pytest.raises(PipelineError, match="line 2: there is no clip 'train/car/a/3.png'"):
        open_clips(folders)
    table.write_text("path,group\ntrain/car/a,g\n")
    with pytest.raises(PipelineError, match="each clip is a separate group. Remove it"):
        open_clips(folders)


def test_long_clips_are_cut_and_told(folders: Path, films: Path) -> None:
    shutil.move(films, folders / "train" / "films")
    images = Clips(path=str(folders), fps=10, max_frames=6).open()
    assert {
        sum(record.group == clip for record in images.records) for clip in ("train/car/a", "train/films/car/a.mp4")
    } == {6}
    assert "5 clips have more than max_frames (6) frames" in images.warnings[-1]


def test_films_that_cannot_be_used_are_single_rejects(films: Path, tmp_path: Path) -> None:
    (films / "car" / "text.mp4").write_text("a text")
    (films / "car" / "nothing.mov").write_bytes(b"")
    (films / "car" / "poster.png").write_bytes(b"a picture, whatever it is")
    images = Clips(path=str(films)).open()
    assert {path: reason.kind for path, reason in images.rejects.items()} == {
        "car/nothing.mov": "empty file",
        "car/text.mp4": "not a film",
    }
    assert images.ignored == {"car/poster.png": "an image beside a film"}
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", films)
    assert {reason.kind for reason in Clips(path=archive).open().rejects.values()} == {"a film in an archive"}


def test_without_a_reader_of_films_it_is_said_what_to_install(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without_av(name: str, *rest: Any) -> Any:
        if name == "av":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_av)
    with pytest.raises(PipelineError, match=r"pip install 'ssl-pipeline\[video\]'"):
        open_clips(films)
    assert Clips(path=str(films)).files().names


@pytest.mark.parametrize("options", [{"fps": 0}, {"fps": 2000}, {"fps": float("nan")}, {"max_frames": 0}])
def test_options_have_ranges(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Clips(path="x", **options)


def test_a_folder_with_nothing_to_see_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    for look in (Clips(path=str(tmp_path)).open, Clips(path=str(tmp_path)).files):
        with pytest.raises(PipelineError, match="neither folders of frames nor films"):
            look()
    with pytest.raises(ConfigError, match="does not exist"):
        open_clips(tmp_path / "nowhere")


def test_no_clip_straddles_splits_and_the_store_knows_the_moments(films: Path, tmp_path: Path) -> None:
    for number in range(4):
        write_frames(films / "car" / f"more {number}")
        write_frames(films / "bus" / f"others {number}")
    images = Clips(path=str(films), fps=4).open()
    (tmp_path / "ingested").mkdir()
    manifest = ingest(images, tmp_path / "ingested", CANVAS, Shares(0, 0.3, 0.3, 0.1), tmp_path / "reports", workers=2)
    assert manifest["counts"]["rejected"] == 0
    clips = {}
    for split in ("train", "val", "test"):
        moments = open_split(tmp_path / "ingested" / "store", split).moments
        assert moments is not None
        clips[split] = len(set(moments.clips))
    assert sum(clips.values()) == 10
    assert min(clips.values()) > 0
