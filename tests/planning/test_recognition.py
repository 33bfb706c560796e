"""Films and folders of frames are distinguished from photographs by names and by the similarity of neighbours."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.planning.recognition import are_shards, kind_of_clips


def write(folder: Path, moving: bool, name: str = "frame_{:03}.png", count: int = 8) -> None:
    """Write frames of a square that moves over a fixed background of noise, or frames of unrelated noise."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(sum(map(ord, folder.name)))
    ground = chance.integers(0, 256, (32, 32, 3), np.uint8)
    for number in range(count):
        pixels = ground.copy() if moving else chance.integers(0, 256, (32, 32, 3), np.uint8)
        pixels[4 * number : 4 * number + 8, 8:24] = 255
        Image.fromarray(np.kron(pixels[::4, ::4], np.ones((4, 4, 1), np.uint8))).save(folder / name.format(number))


def test_frames_are_recognised_in_folders_and_archives(tmp_path: Path) -> None:
    for clip in ("train/a/one", "train/b/two", "test/a/three"):
        write(tmp_path / "clips" / clip, moving=True)
    assert kind_of_clips(tmp_path / "clips") == "frames"
    assert kind_of_clips(Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "clips"))) == "frames"


@pytest.mark.parametrize("moving", [True, False])
def test_photographs_are_not_taken_for_frames(tmp_path: Path, moving: bool) -> None:
    """Neither numbered images that look different, nor similar images whose names do not count up, are frames."""
    for folder in ("cat", "dog", "cow"):
        write(tmp_path / folder, moving)
        if moving:
            for number, path in enumerate(sorted((tmp_path / folder).iterdir())):
                path.rename(path.with_name(f"{number**2}-{'ab'[number % 2]}.png"))
    assert kind_of_clips(tmp_path) is None


def test_folders_that_show_the_same_are_no_evidence(tmp_path: Path) -> None:
    write(tmp_path / "one", moving=True)
    for copy in ("two", "three"):
        shutil.copytree(tmp_path / "one", tmp_path / copy)
    assert kind_of_clips(tmp_path) is None


def test_few_frames_and_one_folder_are_not_enough(tmp_path: Path) -> None:
    write(tmp_path / "one", moving=True)
    assert kind_of_clips(tmp_path) is None
    for folder in ("two", "three"):
        write(tmp_path / folder, moving=True, count=3)
    assert kind_of_clips(tmp_path) is None


def test_films_are_told_by_their_names_alone(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mov"):
        (tmp_path / name).touch()
    (tmp_path / "poster.jpg").touch()
    assert kind_of_clips(tmp_path) == "films"
    for name in ("1.jpg", "2.jpg"):
        (tmp_path / name).touch()
    assert kind_of_clips(tmp_path) is None
    with pytest.raises(ConfigError, match="does not exist"):
        kind_of_clips(tmp_path / "nowhere")


def test_broken_frames_are_no_evidence(tmp_path: Path) -> None:
    for clip in ("one", "two"):
        write(tmp_path / clip, moving=True)
        for path in (tmp_path / clip).iterdir():
            path.write_bytes(b"broken")
    assert kind_of_clips(tmp_path) is None


def test_shards_are_told_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.tar").touch()
    assert are_shards(tmp_path / "shards")
    assert are_shards(tmp_path / "shards" / "0.tar")
    write(tmp_path / "shards" / "images", moving=False)
    assert not are_shards(tmp_path / "shards")
    (tmp_path / "a.tar").mkdir()
    assert not are_shards(tmp_path / "a.tar")
