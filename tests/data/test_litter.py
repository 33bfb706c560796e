"""Litter: files that NAS, sync and camera software leave beside pictures are recognised by name and are not images."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from ssl_pipeline.data.litter import no_image
from ssl_pipeline.data.source import Images
from ssl_pipeline_plugins.sources.folder import Folder


def write(root: Path, names: Sequence[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return root


def opened(path: Path) -> Images:
    return Folder(path=str(path)).open()


def test_what_is_no_image_is_ignored_by_name(tmp_path: Path) -> None:
    others = {
        ".gitkeep": "hidden",
        ".cache/1.png": "hidden",
        "cat/._1.png": "hidden",
        "__MACOSX/cat/1.png": "macOS's notes in an archive",
        "cat/Thumbs.db": "not an image, by its name",
        "README": "not an image, by its name",
        "notes.md": "not an image, by its name",
        "cat/1.xml": "not an image, by its name",
    }
    images = ["cat/1.png", "dog/film.jpg", "dog/readme.jpg", "dog/without_suffix"]
    source = opened(write(tmp_path, [*others, *images]))
    assert source.ignored == others
    assert [record.path for record in source.records] == images


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("cat/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "NAS"),
        ("@EADIR/1.jpg", "NAS"),
        ("#recycle/cat/1.jpg", "NAS"),
        ("$RECYCLE.BIN/S-1-5-21/$RABCDEF.jpg", "recycle bin"),
        ("System Volume Information/1.jpg", "file system"),
        ("lost+found/#123", "file system"),
        ("found.001/dir0000.chk/1.jpg", "file system"),
        ("FOUND.123/1.jpg", "file system"),
        ("cat/@__thumb/default1.jpg", "NAS"),
        ("#snapshots/today/1.jpg", "NAS"),
        ("My.photoslibrary/resources/derivatives/A/1_105_c.jpeg", "derivative"),
        ("cat/My.photoslibrary/Thumbnails/2012/1.jpg", "derivative"),
        ("cat/My.photoslibrary/1.jpg", "derivative"),
        ("Network Trash Folder/1.jpg", "macOS"),
        (".Trash-1000/files/1.jpg", "hidden"),
        (".Trashes/501/1.jpg", "hidden"),
        (".stfolder/syncthing-folder-1.txt", "hidden"),
        (".dropbox.cache/1.jpg", "hidden"),
        (".DS_Store", "hidden"),
        ("cat/Icon\r", "a system file"),
        ("cat/desktop.ini", "not an image"),
        ("cat/1.jpg:Zone.Identifier", "program's own"),
        ("cat/1.jpg~", "program's own"),
        ("cat/1.xmp", "sidecar"),
        ("cat/1.JPG.XMP", "sidecar"),
        ("cat/IMG_1.AAE", "sidecar"),
        ("cat/MVI_1.THM", "sidecar"),
        ("cat/1.nef.dop", "sidecar"),
        ("cat/1.on1", "sidecar"),
        ("Catalog Previews.lrdata/A/1.jpg", "sidecar"),
        ("cat/IMG_1.MOV", "a video"),
        ("cat/00001.mts", "a video"),
        ("PRIVATE/M4ROOT/THMBNL/C0001T01.JPG", "camera"),
        ("cat/1.m4a", "audio"),
        ("cat/1.jpg.part", "unfinished download"),
        ("cat/Unconfirmed 1.crdownload", "download"),
        ("cat/more.zip", "an archive, which is not opened"),
    ],
)
def test_litter_of_nas_sync_and_camera_software_is_ignored(name: str, reason: str) -> None:
    assert reason in (no_image(name) or "")


@pytest.mark.parametrize(
    "name",
    [
        "My.photoslibrary/originals/A/1.jpg",
        "My.photoslibrary/Masters/1.jpg",
        "found.0/1.jpg",
        "eaDir/1.jpg",
        "recycle/1.jpg",
        "part/1.png",
        "cat/film.jpg",
        "xmp/1",
        "thumbs/1.webp",
    ],
)
def test_ordinary_names_are_no_litter(name: str) -> None:
    assert no_image(name) is None


def test_litter_is_no_class(tmp_path: Path) -> None:
    litter = ["@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/x.png", "cat/1.xmp", "films/1.mov"]
    source = opened(write(tmp_path, ["cat/1.png", "dog/2.png", *litter]))
    assert {record.label for record in source.records} == {"cat", "dog"}
    assert sorted(source.ignored) == sorted(litter)
    assert not source.rejects


def test_raw_files_beside_their_picture_are_ignored_and_others_are_rejected(tmp_path: Path) -> None:
    source = opened(write(tmp_path, ["a/1.jpg", "a/1.CR2", "a/2.dng", "b/1.nef"]))
    assert source.ignored == {"a/1.CR2": "a raw file beside the picture that the camera made from it"}
    assert {name: str(reason) for name, reason in source.rejects.items()} == dict.fromkeys(
        ("a/2.dng", "b/1.nef"), "raw file: export it as JPEG or PNG with the camera's software"
    )
