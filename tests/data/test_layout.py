"""Layouts: what folders and labels.csv say about each image, and what is refused as ambiguous."""

import unicodedata
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from ssl_pipeline.data.source import Images
from ssl_pipeline.errors import PipelineError
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


LAYOUTS: dict[str, tuple[list[str], dict[str, tuple[str | None, str | None]]]] = {
    "classes": (["cat/1.png", "dog/2.png"], {"cat/1.png": ("cat", None), "dog/2.png": ("dog", None)}),
    "flat": (["1.png", "2.png"], {"1.png": (None, None), "2.png": (None, None)}),
    "classes beside images without labels": (
        ["cat/1.png", "2.png"],
        {"cat/1.png": ("cat", None), "2.png": (None, None)},
    ),
    "classes beside a folder without labels": (
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
    "only images without labels": (["unlabelled/a/1.png"], {"unlabelled/a/1.png": (None, None)}),
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
    with pytest.raises(PipelineError, match=r"t\w+/ is a split, but (extra|cat|bus)/ beside it is not.*or classes"):
        opened(write(tmp_path, files))


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
        ("path,label\n/somewhere/else,cat\n", r"line 2: .* relative to the folder of the images"),
        ("path,label\n1.png,cat\n1.png,dog\n", r"line 3: '1.png' already occurs in line 2"),
        ("path,split\n1.png,exam\n", r"line 2: 'exam' is not a split"),
        ("path,label\n,cat\n", r"line 2: the path is empty"),
        ("path,label\n1.png,cat,2\n", r"line 2: 3 cells, but 2 columns"),
        ('path,label\n1.png,"cat\n', r"line 2: not valid CSV"),
        ("path;label\n1.png;cat\n", r"line 1: the column 'path' is missing; found: path;label"),
        ("", r"line 1: the column 'path' is missing"),
        ("path,lable\n1.png,cat\n", r"line 1: unknown column 'lable'. Did you mean 'label'"),
        ("path,label,label\n1.png,cat,dog\n", r"line 1: the column 'label' occurs twice"),
    ],
)
def test_mistakes_in_the_table_are_named_by_line(table: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=message):
        opened(write(tmp_path, {"labels.csv": table, "1.png": ""}))


def test_a_table_that_is_not_utf8(tmp_path: Path) -> None:
    write(tmp_path, ["1.png"])
    (tmp_path / "labels.csv").write_bytes("path,label\n1.png,Größe\n".encode("latin-1"))
    with pytest.raises(PipelineError, match=r"labels.csv, line 2: not UTF-8"):
        opened(tmp_path)
