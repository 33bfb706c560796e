"""WebDataset shards: samples by key, with captions, classes and splits; damaged and hostile .tar files."""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.shards import list_shard
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.testing import check_source
from ssl_pipeline_plugins.sources.folder import Folder
from ssl_pipeline_plugins.sources.webdataset import WebDataset
from tests.data.test_ingest import run
from tests.factories import digit_images

Files = Iterable[tuple[str, bytes | str]]


def picture(number: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.kron(digit_images(number + 1)[number], np.ones((2, 2, 1), np.uint8))).save(content, "png")
    return content.getvalue()


def packed(path: Path, files: Files, form: int = tarfile.GNU_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as shard:
        for name, content in files:
            info = tarfile.TarInfo(name)
            held = content.encode() if isinstance(content, str) else content
            info.size = len(held)
            shard.addfile(info, io.BytesIO(held))
    return path


def samples(first: int, count: int) -> Files:
    for number in range(first, first + count):
        yield f"{number:04}.png", picture(number)
        yield f"{number:04}.txt", f"the digit of line {number}\nits other caption"


def told(path: Path, **options: Any) -> list[Record]:
    return list(WebDataset(path=str(path), **options).open().records)


def test_shards_are_as_promised(tmp_path: Path) -> None:
    packed(tmp_path / "a.tar", samples(0, 6))
    packed(tmp_path / "more" / "b.tar", samples(6, 4))
    check_source(WebDataset, path=str(tmp_path), change=lambda: packed(tmp_path / "c.tar", samples(10, 2)))
    check_source(WebDataset, path=str(tmp_path / "a.tar"))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_have_captions_and_classes(form: int, tmp_path: Path) -> None:
    long = "l" * 80 + "é"
    files: Files = [
        ("0.png", picture(0)),
        ("0.txt", "one\r\n two"),
        ("0.cls", "7\n"),
        ("./d/1.PNG", picture(1)),
        ("d/1.json", json.dumps({"caption": "of the metadata", "width": 8})),
        ("2.left.png", picture(2)),
        ("2.right.png", picture(3)),
        ("2.json", json.dumps({"caption": ["a", 5, "b"]})),
        ("2.txt", "of both"),
        ("2.pt", b"\0"),
        ("3.mp4", b"film"),
        ("3.txt", "of no image"),
        (f"{long}.png", picture(4)),
    ]
    packed(tmp_path / "s-train-0.tar", files, form)
    images = WebDataset(path=str(tmp_path)).open()
    assert list(images.records) == [
        Record("s-train-0.tar/0.png", "7", "train", captions=("one", " two")),
        Record("s-train-0.tar/d/1.PNG", None, "train", captions=("of the metadata",)),
        Record("s-train-0.tar/2.left.png", None, "train", "s-train-0.tar/2", ("of both",)),
        Record("s-train-0.tar/2.right.png", None, "train", "s-train-0.tar/2", ("of both",)),
        Record(f"s-train-0.tar/{long}.png", None, "train"),
    ]
    assert sorted(images.ignored) == [f"s-train-0.tar/{name}" for name in ("2.pt", "3.mp4", "3.txt")]
    assert images.read("s-train-0.tar/d/1.PNG", 10_000) == picture(1)
    assert {record.captions for record in told(tmp_path, captions=False)} == {()}


NAMES = {
    "train/00.tar": "train",
    "imagenet-val-0000.tar": "val",
    "cc3m_validation.tar": "val",
    "test.tar": "test",
    "contest.tar": None,
    "train-test.tar": None,
}


def test_shards_name_their_split(tmp_path: Path) -> None:
    for number, name in enumerate(NAMES):
        packed(tmp_path / name, samples(number, 1))
    assert {record.path.rpartition("/")[0]: record.split for record in told(tmp_path)} == NAMES


def test_shards_become_a_store(tmp_path: Path) -> None:
    packed(tmp_path / "shards" / "0.tar", samples(0, 40))
    packed(tmp_path / "shards" / "1.tar", samples(40, 20))
    (tmp_path / "shards" / "beside.jpg").write_bytes(picture(0))
    images = WebDataset(path=str(tmp_path / "shards")).open()
    assert images.ignored == {"beside.jpg": "an image beside shards"}
    manifest = run(images, tmp_path / "out", workers=2)
    assert (manifest["counts"]["captions"], manifest["counts"]["captioned"]) == (120, 60)


def test_a_damaged_shard_loses_what_lies_behind_and_says_so(tmp_path: Path) -> None:
    whole = packed(tmp_path / "whole.tar", samples(0, 8)).read_bytes()
    fourth = list_shard(tmp_path / "whole.tar").places["0004.png"].start - 512
    (tmp_path / "cut.tar").write_bytes(whole[: fourth + 600])
    (tmp_path / "bad.tar").write_bytes(whole[:fourth] + b"\xff" * 512 + whole[fourth + 512 :])
    images = WebDataset(path=str(tmp_path)).open()
    found = [record.path for record in images.records]
    for name in ("cut", "bad"):
        assert [path for path in found if path.startswith(name)][:4] == [f"{name}.tar/000{n}.png" for n in range(4)]
        assert f"{name}.tar" in images.rejects
    assert "0007.png" in str(found)
    assert "nothing after byte" in str(images.rejects["bad.tar"])


def test_hostile_files_in_a_shard_are_named(tmp_path: Path) -> None:
    path = packed(tmp_path / "s.tar", [("../0.png", b"x"), ("/1.png", b"x"), ("2.png", b"x"), ("2.png", b"y")])
    with tarfile.open(path, "a") as shard:
        link = tarfile.TarInfo("3.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        shard.addfile(link)
    images = WebDataset(path=str(path)).open()
    assert [record.path for record in images.records] == ["s.tar/2.png"]
    assert sorted(images.rejects) == ["s.tar/../0.png", "s.tar//1.png", "s.tar/2.png (2)", "s.tar/3.png"]


def test_a_size_that_leads_back_does_not_go_on_for_ever(tmp_path: Path) -> None:
    content = bytearray(packed(tmp_path / "s.tar", samples(0, 3)).read_bytes())
    place = list_shard(tmp_path / "s.tar").places["0001.png"].start - 512
    content[place + 124 : place + 136] = b"\xff" * 10 + b"\xf0\0"  # base-256, negative
    content[place + 148 : place + 156] = b" " * 8
    content[place + 148 : place + 156] = b"%06o\0 " % sum(content[place : place + 512])
    (tmp_path / "s.tar").write_bytes(content)
    listed = list_shard(tmp_path / "s.tar")
    assert list(listed.places) == ["0000.png", "0000.txt"]
    assert "negative size" in str(listed.rejects[""])


def test_other_files_are_sentences(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PipelineError, match=r"there is no \.tar in"):
        told(tmp_path / "empty")
    (tmp_path / "s.tar").write_bytes(b"\x1f\x8b\x08" + bytes(600))
    with pytest.raises(PipelineError, match="it is compressed: decompress it to a .tar"):
        told(tmp_path)
    packed(tmp_path / "s.tar", [("0.txt", "no image")])
    with pytest.raises(PipelineError, match="A sample needs an image"):
        told(tmp_path)
    packed(tmp_path / "s.tar", [("0.png", b"x"), ("0.txt", b"a\ncaf\xe9")])
    with pytest.raises(PipelineError, match=r"not UTF-8: s\.tar/0\.txt, line 2"):
        told(tmp_path)


def test_a_shard_that_changes_meanwhile_is_told(tmp_path: Path) -> None:
    path = packed(tmp_path / "s.tar", samples(0, 2))
    images = WebDataset(path=str(path)).open()
    packed(path, samples(1, 1))
    with pytest.raises(RejectedError, match="changed while it was read"):
        images.read("s.tar/0000.png", 10_000)


def test_a_folder_of_shards_is_told_from_a_folder_of_images(tmp_path: Path) -> None:
    path = packed(tmp_path / "s.tar", samples(0, 2))
    for place in (path, tmp_path):
        with pytest.raises(PipelineError, match="name: webdataset"):
            Folder(path=str(place)).open()
