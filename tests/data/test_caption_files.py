"""Captions in labels.csv and in text files beside images: what is read unchanged, and what is not a caption."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from ssl_pipeline.data.source import Images
from ssl_pipeline.errors import PipelineError
from ssl_pipeline_plugins.sources.folder import Folder


def pile(root: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def told(images: Images) -> dict[str, tuple[str, ...]]:
    return {record.path: record.captions for record in images.records}


def of_table(root: Path, table: str | bytes) -> dict[str, tuple[str, ...]]:
    return told(Folder(path=str(pile(root, {"a.png": "x", "b.png": "x", "c.png": "x", "labels.csv": table}))).open())


TEXTS = {
    "cat/1.jpg": "x",
    "cat/1.txt": "one\n\ntwo \r\n three",
    "cat/2.jpg": "x",
    "cat/2.png": "x",
    "cat/2.TXT": "\ufeff\u202eof both",
    "3.jpg": "x",
    "3.txt": "",
    "README.txt": "Read me.",
    "cat/LICENSE.txt": "\xff".encode("latin-1"),
    "4.jpg": "x",
}


@pytest.mark.parametrize("packed", [False, True])
def test_a_text_beside_an_image_has_a_caption_in_each_line(packed: bool, tmp_path: Path) -> None:
    root = pile(tmp_path / "images", TEXTS)
    if packed:
        with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
            for name in TEXTS:
                archive.write(root / name, name)
        root = tmp_path / "images.zip"
    images = Folder(path=str(root)).open()
    assert told(images) == {
        "cat/1.jpg": ("one", "two ", " three"),
        "cat/2.jpg": ("\u202eof both",),
        "cat/2.png": ("\u202eof both",),
        "3.jpg": ("",),
        "4.jpg": (),
    }
    assert sorted(images.ignored) == ["README.txt", "cat/LICENSE.txt"]


def test_captions_can_be_left_out(tmp_path: Path) -> None:
    root = pile(tmp_path, {**TEXTS, "4.txt": b"\xff"})
    source = Folder(path=str(root), captions=False)
    assert set(told(source.open()).values()) == {()}
    assert "cat/1.txt" in source.open().ignored
    assert "cat/1.txt" not in source.files().names
    pile(tmp_path, {"labels.csv": "path,caption\n4.jpg,four\n"})
    assert set(told(source.open()).values()) == {()}


def test_the_inventory_sees_texts_beside_images_and_no_others(tmp_path: Path) -> None:
    names = Folder(path=str(pile(tmp_path, TEXTS))).files().names
    assert sorted(set(names) - {"cat/1.jpg", "cat/2.jpg", "cat/2.png", "3.jpg", "4.jpg"}) == [
        "3.txt",
        "cat/1.txt",
        "cat/2.TXT",
    ]


BOXES = {
    "YOLO": "0 0.5 0.5 0.25 .125\n17 0.1 0.2 1e-2 0.4\n",
    "KITTI": "Car 0.00 0 -1.57 614.24 181.78 727.31 284.77 1.57 1.73 4.15 1.00 1.75 13.22 -1.62",
    "ICDAR": "377,117,463,117,465,130,378,130,Genaxis Theatre\r\n493,115,519,115,519,131,493,131,[06]",
}


@pytest.mark.parametrize("text", BOXES.values(), ids=BOXES)
def test_boxes_are_no_captions(text: str, tmp_path: Path) -> None:
    images = Folder(path=str(pile(tmp_path, {"1.png": "x", "1.txt": text, "2.png": "x", "2.txt": ""}))).open()
    assert set(told(images).values()) == {()}
    assert images.ignored == {
        "1.txt": "each line contains numbers, such as bounding boxes: not read as captions",
        "2.txt": "not an image, by its name",
    }


def test_captions_may_have_numbers(tmp_path: Path) -> None:
    texts = ("1984", "the numbers 1 2 3 4 on four doors", "3.5", "10 9 8 7 6 5 4 3 2 1\nlift off")
    files = {f"{number}.png": "x" for number in range(4)} | {f"{number}.txt": text for number, text in enumerate(texts)}
    found = told(Folder(path=str(pile(tmp_path, files))).open())
    assert [found[f"{number}.png"] for number in range(4)] == [tuple(text.split("\n")) for text in texts]


def test_classes_as_numbers_are_no_captions(tmp_path: Path) -> None:
    files = {f"{number}.png": "x" for number in range(4)} | {f"{number}.txt": f"{number % 2}\n" for number in range(4)}
    images = Folder(path=str(pile(tmp_path, files))).open()
    assert set(told(images).values()) == {()}
    assert set(images.ignored.values()) == {"only numbers, such as class indices: not read as captions"}


def test_a_note_that_is_not_utf8_among_captions_is_listed(tmp_path: Path) -> None:
    files = {"1.png": "x", "1.txt": b"caf\xe9", "2.png": "x", "2.txt": "two", "3.png": "x", "3.txt": "three"}
    images = Folder(path=str(pile(tmp_path, files))).open()
    assert told(images) == {"1.png": (), "2.png": ("two",), "3.png": ("three",)}
    assert images.ignored == {"1.txt": "not UTF-8 (line 1): not read as captions"}


def test_texts_that_are_not_utf8_are_named_with_their_lines(tmp_path: Path) -> None:
    utf16 = "ein Stra\u00dfe".encode("utf-16")
    files = {"1.png": "x", "1.txt": b"one\ntwo\ncaf\xe9", "2.png": "x", "2.txt": utf16, "3.png": "x", "3.txt": "three"}
    with pytest.raises(PipelineError) as told_error:
        Folder(path=str(pile(tmp_path, files))).open()
    assert "2 texts beside images are not UTF-8: 1.txt, line 3; 2.txt, line 1." in str(told_error.value)
    assert "ingest.source.captions: false" in str(told_error.value)


def test_a_text_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = pile(tmp_path, {"1.png": "x", "1.txt": "x" * (2**20 + 1), "2.png": "x", "2.txt": "two"})
    images = Folder(path=str(root)).open()
    assert told(images) == {"1.png": (), "2.png": ("two",)}
    assert images.ignored["1.txt"].startswith("captions that cannot be read: too large")


def test_a_table_has_captions_in_lines_of_their_own(tmp_path: Path) -> None:
    table = 'path,caption,label\na.png," one, ""1""\r\nas it is",cat\nb.png\na.png,two\na.png,,cat\n'
    assert of_table(tmp_path, table) == {"a.png": (' one, "1"\r\nas it is', "two", ""), "b.png": (), "c.png": ()}
    records = Folder(path=str(tmp_path)).open().records
    assert [record.label for record in records] == ["cat", None, None]


def test_captions_of_a_table_stand_for_those_of_texts(tmp_path: Path) -> None:
    pile(tmp_path, {"a.txt": "of the text"})
    assert of_table(tmp_path, "path,caption\nb.png,of the table\n") == {
        "a.png": (),
        "b.png": ("of the table",),
        "c.png": (),
    }
    assert "captions come from the table of labels" in Folder(path=str(tmp_path)).open().ignored["a.txt"]
    assert of_table(tmp_path, "path,label\nb.png,cat\n")["a.png"] == ("of the text",)


MISTAKES = {
    "another label": (
        "path,label,caption\na.png,cat,x\na.png,dog,y\n",
        r"line 3: 'a\.png' has the label 'dog', but 'c",
    ),
    "a repeated path": ("path,label\na.png,cat\na.png,cat\n", r"line 3: 'a\.png' already occurs in line 2"),
    "captions": ("path,captions\na.png,cat\n", r"unknown column 'captions'\. Did you mean 'caption'\?"),
    "not UTF-8": (b"path,caption\na.png,cat\nb.png,caf\xe9\n", r"line 3: not UTF-8"),
    "half a surrogate pair": (b"path,caption\na.png,\xed\xa0\xbd\n", r"line 2: not UTF-8"),
    "without end": ("path,caption\na.png," + "x" * 200_000 + "\n", r"line 2: not valid CSV \(field larger"),
}


@pytest.mark.parametrize(("table", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_in_captions_of_a_table_are_named_by_line(table: str | bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=message):
        of_table(tmp_path, table)


@pytest.mark.parametrize("column", ["location", "action", "option", "description"])
def test_columns_that_only_look_like_captions_are_left_alone(column: str, tmp_path: Path) -> None:
    assert set(of_table(tmp_path, f"path,{column}\na.png,cat\n").values()) == {()}
