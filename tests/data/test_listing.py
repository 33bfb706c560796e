"""Listing: whatever lies in a directory or an archive is an image, or ignored, or rejected, and never trusted."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from ssl_pipeline.data.decode import RejectedError
from ssl_pipeline.data.sources import Source, open_source
from ssl_pipeline.errors import ConfigError, PipelineError

LIMIT = 10**6


def write(root: Path, files: Mapping[str, str] | list[str]) -> Path:
    for name, content in (files if isinstance(files, Mapping) else dict.fromkeys(files, "x")).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


def opened(root: Path) -> Source:
    return open_source("folder", {"path": str(root)})


def said(source: Source) -> dict[str, tuple[str | None, str | None, str | None]]:
    return {record.path: (record.label, record.split, record.group) for record in source.records}


def test_what_is_no_image_is_ignored_by_name(tmp_path: Path) -> None:
    others = {
        ".gitkeep": "hidden",
        ".cache/1.png": "hidden",
        "cat/._1.png": "hidden",
        "__MACOSX/cat/1.png": "macOS's notes in an archive",
        "cat/Thumbs.db": "no image by its name",
        "README": "no image by its name",
        "notes.md": "no image by its name",
        "cat/1.xml": "no image by its name",
    }
    images = ["cat/1.png", "dog/film.mp4", "dog/readme.jpg", "dog/without_suffix"]
    source = opened(write(tmp_path, [*others, *images]))
    assert source.ignored == others
    assert [record.path for record in source.records] == images


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"augment.source.path: .*nowhere does not exist"):
        opened(tmp_path / "nowhere")
    with pytest.raises(PipelineError, match=r"no images in .*0 files that cannot be read, 1 that are no images"):
        opened(write(tmp_path / "empty", [".gitkeep"]))
    with pytest.raises(ConfigError, match=r"neither a directory nor a whole .zip"):
        opened(write(tmp_path, ["image.png"]) / "image.png")
    whole = tmp_path / "whole.zip"
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr("1.png", "x" * 1000)
    half = tmp_path / "half.zip"
    half.write_bytes(whole.read_bytes()[:600])
    with pytest.raises(ConfigError, match=r"neither a directory nor a whole .zip"):
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
        "a/broken link.png": "unreadable: a broken link, or no regular file",
        "a/pipe.png": "unreadable: a broken link, or no regular file",
        "a/round": "unreadable: a link to a folder that it lies in",
        "a/caf\\xe9.png": "unreadable: its name is not valid UTF-8; rename it",
    }


def test_files_that_go_or_grow_are_rejected(tmp_path: Path) -> None:
    source = opened(write(tmp_path, {"1.png": "x" * 100, "2.png": ""}))
    with pytest.raises(RejectedError, match=r"too large: a file of"):
        source.read("1.png", 99)
    (tmp_path / "2.png").unlink()
    with pytest.raises(RejectedError, match=r"unreadable: No such file"):
        source.read("2.png", 99)


def hostile_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("good.png", b"good")
        archive.writestr("../outside.png", b"x")
        archive.writestr("/root.png", b"x")
        archive.writestr("back\\slash.png", b"x")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("good.png", b"other")
        link = zipfile.ZipInfo("link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "good.png")
        archive.writestr("damaged.png", b"D" * 200)
        archive.writestr("locked.png", b"L" * 200)
        archive.writestr("packed.png", bytes(10**5), zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    content[content.index(b"D" * 200)] = ord("E")  # the checksum no longer fits
    directory = content.rindex(b"PK\x01\x02", 0, content.rindex(b"locked.png"))
    content[directory + 8] |= 1  # marked as encrypted
    path.write_bytes(content)
    return path


def test_hostile_archives(tmp_path: Path) -> None:
    source = opened(hostile_zip(tmp_path / "pile.zip"))
    assert said(source).keys() == {"good.png", "damaged.png", "locked.png", "packed.png"}
    assert {path: reason.detail for path, reason in source.rejects.items()} == {
        "../outside.png": "its path leads out of the archive",
        "/root.png": "its path leads out of the archive",
        "back\\slash.png": "its path has backslashes; pack the archive with another program",
        "good.png": "the archive has another file of that name",
        "link.png": "a link inside an archive",
    }
    with pytest.raises(RejectedError, match=r"unreadable: in the archive: Bad CRC-32"):
        source.read("damaged.png", LIMIT)
    with pytest.raises(RejectedError, match=r"unreadable: in the archive: .*encrypted"):
        source.read("locked.png", LIMIT)
    with pytest.raises(RejectedError, match=r"too large"):  # by what it unpacks to, before it is unpacked
        source.read("packed.png", 10**4)
    assert not (tmp_path / "outside.png").exists()
