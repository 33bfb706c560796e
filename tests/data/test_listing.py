"""Listing: each entry of a directory is an image, ignored, or rejected, and never trusted."""

import errno
import os
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import Images
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline_plugins.sources.folder import Folder

LIMIT = 10**6


def write(root: Path, files: Mapping[str, str] | list[str]) -> Path:
    for name, content in (files if isinstance(files, Mapping) else dict.fromkeys(files, "x")).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def opened(root: Path) -> Images:
    return Folder(path=str(root)).open()


def said(source: Images) -> dict[str, tuple[str | None, str | None, str | None]]:
    return {record.path: (record.label, record.split, record.group) for record in source.records}


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ingest.source.path: .*nowhere does not exist"):
        opened(tmp_path / "nowhere")
    with pytest.raises(PipelineError, match=r"no images found in .*0 unreadable files, 1 non-image file"):
        opened(write(tmp_path / "hidden", [".gitkeep"]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(PipelineError, match=r"no images found in .*empty \(it is empty\)\. Put images there"):
        opened(tmp_path / "empty")
    with pytest.raises(ConfigError, match=r"neither a directory nor a complete .zip"):
        opened(write(tmp_path, ["image.png"]) / "image.png")
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("1.png", "x" * 1000)
    half = tmp_path / "half.zip"
    half.write_bytes(whole.read_bytes()[:600])
    with pytest.raises(ConfigError, match=r"neither a directory nor a complete .zip"):
        opened(half)


def test_what_the_file_system_cannot_read(tmp_path: Path) -> None:
    root = write(tmp_path / "pile", ["a/1.png", "b/2.png"])
    (root / "a" / "broken link.png").symlink_to(tmp_path / "gone.png")
    (root / "a" / "round").symlink_to(root)
    os.mkfifo(root / "a" / "pipe.png")
    Path(os.fsdecode(os.fsencode(root) + b"/a/caf\xe9.png")).touch()
    write(tmp_path / "elsewhere", ["3.png"])
    (root / "c").symlink_to(tmp_path / "elsewhere")
    source = opened(root)
    assert said(source).keys() == {"a/1.png", "b/2.png", "c/3.png"}
    assert {path: str(reason) for path, reason in source.rejects.items()} == {
        "a/broken link.png": "unreadable: a broken link",
        "a/pipe.png": "unreadable: a pipe",
        "a/round": "unreadable: a link to a folder that contains it",
        "a/caf\\xe9.png": "unreadable: its name is not valid UTF-8; rename it",
    }


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    root = write(tmp_path / "pile", ["a/1.png"])
    (root / "a" / "itself.png").symlink_to("itself.png")
    (root / "a" / "long.png").symlink_to("y" * 300)
    source = opened(root)
    assert said(source).keys() == {"a/1.png"}
    assert {name: str(reason) for name, reason in source.rejects.items()} == {
        "a/itself.png": f"unreadable: {os.strerror(errno.ELOOP)}",
        "a/long.png": f"unreadable: {os.strerror(errno.ENAMETOOLONG)}",
    }


def test_a_folder_is_listed_once_however_many_links_lead_to_it(tmp_path: Path) -> None:
    root = write(tmp_path / "pile", ["cat/1.png"])
    for number in range(40):  # each folder holds two links to the next: 2^40 paths
        for name in "ab":
            place = root / f"{number:02}" / name
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(root / f"{number + 1:02}")
    write(root, ["40/2.png"])
    elsewhere = write(tmp_path / "elsewhere", ["3.png"])
    (root / "dog").symlink_to(elsewhere)
    (root / "hound").symlink_to(elsewhere)
    source = opened(root)
    assert said(source).keys() == {"40/2.png", "cat/1.png", "dog/3.png"}
    assert len(source.ignored) == 81
    assert set(source.ignored.values()) == {"a link to a folder that is already listed"}
    assert source.warnings == [
        "81 links lead to folders that are listed under another name, such as 00/a: see data/ingested/ignored.csv."
    ]


def test_a_link_does_not_take_a_folders_name(tmp_path: Path) -> None:
    """A folder keeps its own path if possible: a link that comes first in alphabetical order changes no label."""
    root = write(tmp_path / "pile", ["zebra/1.png", "yak/2.png"])
    (root / "animals").symlink_to(root / "zebra")
    (root / "yak" / "again").symlink_to(root / "zebra")
    assert {name: label for name, (label, _, _) in said(opened(root)).items()} == {
        "zebra/1.png": "zebra",
        "yak/2.png": "yak",
    }


def test_folders_however_deep(tmp_path: Path) -> None:
    root = write(tmp_path / "pile", ["1.png"])
    place = os.open(root, os.O_RDONLY)
    for level in range(1200 + 8):  # the path ends up longer than the system allows
        name = "d" if level < 1200 else "n" * 250
        os.mkdir(name, dir_fd=place)
        below = os.open(name, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
        if level == 1199:
            os.close(os.open("2.png", os.O_CREAT | os.O_WRONLY, dir_fd=place))
    os.close(place)
    source = opened(root)
    assert [record.path for record in source.records] == ["1.png", "d/" * 1200 + "2.png"]
    (reason,) = source.rejects.values()
    assert str(reason) == f"unreadable: {os.strerror(errno.ENAMETOOLONG)}"
    subprocess.run(["rm", "-rf", root], check=True)  # Python's own function would recurse


def test_a_table_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    root = write(tmp_path / "pile", ["a/1.png"])
    table = root / "labels.csv"
    for reason, make in {
        "No such file": lambda: table.symlink_to("nowhere"),
        "a pipe": lambda: os.mkfifo(table),
        "a device": lambda: table.symlink_to("/dev/zero"),
        "symbolic links": lambda: table.symlink_to("labels.csv"),
    }.items():
        make()
        with pytest.raises(PipelineError, match=rf"labels.csv cannot be read \(.*{reason}.*or remove it"):
            opened(root)
        table.unlink()


def test_files_that_go_or_grow_are_rejected(tmp_path: Path) -> None:
    source = opened(write(tmp_path, {"1.png": "x" * 100, "2.png": ""}))
    with pytest.raises(RejectedError, match=r"too large: a file of"):
        source.read("1.png", 99)
    (tmp_path / "2.png").unlink()
    with pytest.raises(RejectedError, match=r"unreadable: No such file"):
        source.read("2.png", 99)
