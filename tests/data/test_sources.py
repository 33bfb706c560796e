"""Sources: how a pile of files is read, and what is said about one that cannot be."""

import gzip
import io
import os
import struct
import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ssl_pipeline.data.decode import RejectedError
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.sources import SOURCES, Source, open_source
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


LAYOUTS: dict[str, tuple[list[str], dict[str, tuple[str | None, str | None]]]] = {
    "classes": (["cat/1.png", "dog/2.png"], {"cat/1.png": ("cat", None), "dog/2.png": ("dog", None)}),
    "flat": (["1.png", "2.png"], {"1.png": (None, None), "2.png": (None, None)}),
    "classes beside a flat pool": (["cat/1.png", "2.png"], {"cat/1.png": ("cat", None), "2.png": (None, None)}),
    "classes beside a pool": (
        ["cat/1.png", "dog/2.png", "Unlabeled/3.png", "unlabelled/x/4.png"],
        {
            "cat/1.png": ("cat", None),
            "dog/2.png": ("dog", None),
            "Unlabeled/3.png": (None, None),
            "unlabelled/x/4.png": (None, None),
        },
    ),
    "splits with classes": (
        ["Train/cat/1.png", "valid/cat/2.png", "test/dog/3.png", "unlabelled/4.png", "5.png", "train/unlabelled/6.png"],
        {
            "Train/cat/1.png": ("cat", "train"),
            "valid/cat/2.png": ("cat", "val"),
            "test/dog/3.png": ("dog", "test"),
            "unlabelled/4.png": (None, None),
            "5.png": (None, None),
            "train/unlabelled/6.png": (None, "train"),
        },
    ),
    "splits without classes": (
        ["train/1.png", "test/2.png"],
        {"train/1.png": (None, "train"), "test/2.png": (None, "test")},
    ),
    "only train": (["train/cat/1.png"], {"train/cat/1.png": ("cat", "train")}),
    "folders in classes": (
        ["cat/a/b/1.png", "dog/2.png"],
        {"cat/a/b/1.png": ("cat", None), "dog/2.png": ("dog", None)},
    ),
    "a class called train": (
        ["train/1.png", "bus/2.png"],
        {"train/1.png": ("train", None), "bus/2.png": ("bus", None)},
    ),
    "all in one folder": (
        ["data/v1/cat/1.png", "data/v1/dog/2.png"],
        {"data/v1/cat/1.png": ("cat", None), "data/v1/dog/2.png": ("dog", None)},
    ),
    "one folder of images": (
        ["photos/1.png", "photos/2.png"],
        {"photos/1.png": (None, None), "photos/2.png": (None, None)},
    ),
    "only a pool": (["unlabelled/a/1.png"], {"unlabelled/a/1.png": (None, None)}),
}


@pytest.mark.parametrize("packed", [False, True], ids=["directory", "zip"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, packed: bool, tmp_path: Path) -> None:
    files, expected = LAYOUTS[name]
    root = tmp_path / "pile"
    if packed:
        root = tmp_path / "pile.zip"
        with zipfile.ZipFile(root, "w") as archive:
            for file in files:
                archive.writestr(file, file)
    else:
        write(root, {file: file for file in files})
    source = opened(root)
    assert {path: found[:2] for path, found in said(source).items()} == expected
    assert [source.read(record.path, LIMIT) for record in source.records] == [file.encode() for file in sorted(files)]


@pytest.mark.parametrize(
    "files",
    [
        ["train/cat/1.png", "test/cat/2.png", "extra/3.png"],
        ["train/1.png", "test/2.png", "cat/3.png"],
        ["train/cat/1.png", "bus/2.png"],
    ],
)
def test_folders_that_may_be_splits_or_classes_are_refused(files: list[str], tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"beside t\w+/ lies (extra|cat|bus)/.*splits or classes"):
        opened(write(tmp_path, files))


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


TABLE = "path,label,split,group\n1.png,cat,,anna\n2.png,dog,test,\nsub/3.png,,val,ben\n"


def test_a_table_says_label_split_and_group(tmp_path: Path) -> None:
    source = opened(write(tmp_path, {"labels.csv": TABLE, "1.png": "", "2.png": "", "sub/3.png": "", "4.png": ""}))
    assert said(source) == {
        "1.png": ("cat", None, "anna"),
        "2.png": ("dog", "test", None),
        "sub/3.png": (None, "val", "ben"),
        "4.png": (None, None, None),
    }
    assert source.ignored == {"labels.csv": "the table of labels"}


def test_a_table_without_labels_leaves_them_to_the_folders(tmp_path: Path) -> None:
    files = {"labels.csv": "path,group\ntrain/cat/1.png,a\n", "train/cat/1.png": "", "train/dog/2.png": ""}
    assert said(opened(write(tmp_path, files))) == {
        "train/cat/1.png": ("cat", "train", "a"),
        "train/dog/2.png": ("dog", "train", None),
    }


def test_a_table_with_labels_overrules_class_folders_and_leaves_split_folders(tmp_path: Path) -> None:
    table = "path,label\ntrain/x/1.png,cat\ntest/2.png,dog\n"
    files = {"labels.csv": table, "train/x/1.png": "", "test/2.png": "", "train/x/3.png": ""}
    assert said(opened(write(tmp_path, files))) == {
        "train/x/1.png": ("cat", "train", None),
        "test/2.png": ("dog", "test", None),
        "train/x/3.png": (None, "train", None),
    }


def test_a_table_in_the_only_folder(tmp_path: Path) -> None:
    source = opened(
        write(tmp_path, {"pile/labels.csv": "path,label\n1.png,cat\n", "pile/1.png": "", "pile/a/2.png": ""})
    )
    assert said(source) == {"pile/1.png": ("cat", None, None), "pile/a/2.png": (None, None, None)}


def test_a_table_beside_the_only_folder(tmp_path: Path) -> None:
    source = opened(write(tmp_path, {"labels.csv": "path,label\nimages/1.png,cat\n", "images/1.png": ""}))
    assert said(source) == {"images/1.png": ("cat", None, None)}


def test_a_table_as_other_programs_write_it(tmp_path: Path) -> None:
    table = '\ufeffPath, Label ,mood\r\n.\\a\\1.png," cat ",merry\r\n\r\n"b,c.png",dog,sad\r\n'
    source = opened(write(tmp_path, {"labels.csv": table, "a/1.png": "", "b,c.png": ""}))
    assert said(source) == {"a/1.png": ("cat", None, None), "b,c.png": ("dog", None, None)}


def test_accents_are_the_same_in_the_table_and_in_names(tmp_path: Path) -> None:
    decomposed = unicodedata.normalize("NFD", "café.png")
    source = opened(write(tmp_path, {"labels.csv": "path,label\ncafé.png,drink\n", decomposed: ""}))
    assert [record.label for record in source.records] == ["drink"]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("path,label\n1.png,cat\n7.png,cat\n", r"labels.csv, line 3: there is no image '7.png'. Did you mean '1.png'"),
        ("path,label\n/somewhere/else,cat\n", r"line 2: .* relative to the folder of labels.csv"),
        ("path,label\n1.png,cat\n1.png,dog\n", r"line 3: '1.png' is in line 2 already"),
        ("path,split\n1.png,exam\n", r"line 2: 'exam' is no split"),
        ("path,label\n,cat\n", r"line 2: the path is empty"),
        ("path,label\n1.png,cat,2\n", r"line 2: 3 cells, but 2 columns"),
        ('path,label\n1.png,"cat\n', r"line 2: no valid CSV"),
        ("path;label\n1.png;cat\n", r"line 1: there must be a column 'path'.*found: path;label"),
        ("", r"line 1: there must be a column 'path'"),
        ("path,lable\n1.png,cat\n", r"line 1: unknown column 'lable'. Did you mean 'label'"),
        ("path,label,label\n1.png,cat,dog\n", r"line 1: there are two columns 'label'"),
    ],
)
def test_mistakes_in_the_table_are_named_by_line(table: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=message):
        opened(write(tmp_path, {"labels.csv": table, "1.png": ""}))


def test_a_table_that_is_not_utf8(tmp_path: Path) -> None:
    write(tmp_path, ["1.png"])
    (tmp_path / "labels.csv").write_bytes("path,label\n1.png,Größe\n".encode("latin-1"))
    with pytest.raises(PipelineError, match=r"labels.csv is not UTF-8"):
        opened(tmp_path)


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


def test_digits_are_scikit_learns() -> None:
    source = open_source("digits", {"path": "anything"})
    data = load_digits()
    assert [record.label for record in source.records] == [str(label) for label in data.target]
    image = source.read(source.records[7].path, LIMIT)
    np.testing.assert_allclose(np.asarray(image), data.images[7] * 255 / 16, atol=0.5)
    assert source.choice == {"name": "digits", "path": "anything"}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "folders",
            {},
            r"augment.source.name: unknown source 'folders'. Did you mean 'folder'\? Known: digits, folder, ",
        ),
        ("folder", {}, r"augment.source.path: missing"),
        ("folder", {"path": 3}, r"augment.source.path: .*string.* \(found 3\)"),
        (
            "folder",
            {"path": "x", "pathh": "y"},
            r"augment.source.pathh: unknown option of 'folder'. Did you mean 'path'",
        ),
        ("torchvision", {"path": "x", "dataset": "CIFAR11"}, r"augment.source.dataset: .*Did you mean 'CIFAR10'"),
        (
            "torchvision",
            {"path": "x", "dataset": "wrap_dataset_for_transforms_v2"},
            r"augment.source.dataset: .* no data set",
        ),
        (
            "torchvision",
            {"path": "x", "dataset": "FakeData", "options": {"sizes": 3}},
            r"augment.source.options: FakeData",
        ),
        (
            "torchvision",
            {"path": "x", "dataset": "EMNIST", "options": {"split": "z"}},
            r"augment.source.options: EMNIST",
        ),
    ],
)
def test_mistakes_in_the_parameters_are_named_by_key(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        open_source(name, options)


def test_every_source_documents_its_options() -> None:
    for factory in SOURCES.values():
        assert all(f"{option}:" in (factory.__doc__ or "") for option in factory.__annotations__ if option != "return")


def write_mnist(root: Path) -> Path:
    """MNIST's own files, with three training and two test images of 28 x 28."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, labels in {"train": [3, 1, 4], "t10k": [1, 5]}.items():
        pixels = np.arange(len(labels) * 784, dtype=np.uint32).astype(np.uint8)
        images = struct.pack(">4I", 2051, len(labels), 28, 28) + pixels.tobytes()
        numbers = struct.pack(">2I", 2049, len(labels)) + bytes(labels)
        for name, content in {"images-idx3": images, "labels-idx1": numbers}.items():
            (raw / f"{part}-{name}-ubyte").write_bytes(content)
            (raw / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(content))
    return root


def test_torchvisions_train_and_test(tmp_path: Path) -> None:
    source = open_source("torchvision", {"path": str(write_mnist(tmp_path)), "dataset": "MNIST"})
    assert source.records == [
        Record("train/0000000", "3 - three", "train"),
        Record("train/0000001", "1 - one", "train"),
        Record("train/0000002", "4 - four", "train"),
        Record("test/0000000", "1 - one", "test"),
        Record("test/0000001", "5 - five", "test"),
    ]
    image = source.read("test/0000001", LIMIT)
    np.testing.assert_array_equal(np.asarray(image).ravel(), np.arange(784, 2 * 784).astype(np.uint8))


def test_torchvisions_named_splits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    class Small(datasets.FakeData):  # type: ignore[misc]
        def __init__(self, root: str, split: str = "train", download: bool = False):
            if split not in ("train", "val", "unlabeled"):
                raise ValueError(f"unknown split {split}")
            super().__init__(2, (3, 9, 9), 4)
            self.labels = [-1, -1] if split == "unlabeled" else [2, 0]
            self.classes = [("ant", "emmet"), ("bee",), ("cow",), ("doe",)]

    monkeypatch.setattr(datasets, "STL10", Small)
    source = open_source("torchvision", {"path": str(tmp_path), "dataset": "STL10"})
    assert [tuple(record[:3]) for record in source.records] == [
        ("train/0000000", "cow", "train"),
        ("train/0000001", "ant", "train"),
        ("val/0000000", "cow", "val"),
        ("val/0000001", "ant", "val"),
        ("unlabelled/0000000", None, None),
        ("unlabelled/0000001", None, None),
    ]


def test_torchvision_without_splits(tmp_path: Path) -> None:
    options = {"size": 3, "image_size": [3, 9, 12], "num_classes": 2}
    source = open_source("torchvision", {"path": str(tmp_path), "dataset": "FakeData", "options": options})
    assert [record.split for record in source.records] == [None] * 3
    assert {record.label for record in source.records} <= {"0", "1"}
    image = source.read("all/0000002", LIMIT)
    assert isinstance(image, Image.Image)
    assert image.size == (12, 9)


def test_torchvision_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets.CIFAR10, "download", offline)
    with pytest.raises(PipelineError, match=r"cannot provide CIFAR10 in .*no route to host.*without a network"):
        open_source("torchvision", {"path": str(tmp_path), "dataset": "CIFAR10"})


def test_torchvisions_broken_images_are_rejects(tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.new("RGB", (9, 9)).save(png, "PNG")
    for name, content in {"a/1.png": png.getvalue(), "b/2.png": b"no image"}.items():
        path = tmp_path / name
        path.parent.mkdir()
        path.write_bytes(content)
    source = open_source("torchvision", {"path": str(tmp_path), "dataset": "ImageFolder"})
    assert [record.label for record in source.records] == ["a", "b"]
    source.read("all/0000000", LIMIT)
    with pytest.raises(RejectedError, match="unreadable"):
        source.read("all/0000001", LIMIT)
