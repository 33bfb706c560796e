"""Captions in the store: stored byte for byte, or left out and listed; data sets without captions do not change."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ssl_pipeline.data.caption_audit import sift
from ssl_pipeline.data.captions import Captions
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.source import Images
from ssl_pipeline.data.splits import merge_copies
from ssl_pipeline.data.store import SPLITS, open_split
from ssl_pipeline.errors import PipelineError
from ssl_pipeline_plugins.sources.digits import Digits
from tests.data.test_ingest import contents, run, table
from tests.factories import digits_store, spelled_out

ROWS = [
    ("a red bicycle", "ein Fahrrad \U0001f6b2"),
    (),
    (" as it is \r\n",),
    ("\ufeff\u202eabc", "e\u0301", "x" * 100_000),
]


def some_digits(count: int, *captions: tuple[str, ...]) -> Images:
    """Return the first digits; the first of them have the captions."""
    images = Digits().open()
    rows = [*captions, *[()] * (count - len(captions))]
    chosen = zip(images.records[:count], rows, strict=True)
    return replace(images, records=[record._replace(captions=row) for record, row in chosen])


def test_captions_are_kept_as_they_are() -> None:
    captions = Captions.of(ROWS)
    assert list(captions) == ROWS == [captions[row] for row in range(len(captions))]
    assert captions[np.int64(3)] == ROWS[3]
    assert list(captions.all()) == [caption for row in ROWS for caption in row]
    assert captions.counts.tolist() == [2, 0, 1, 3]
    assert list(Captions.of([])) == []
    for row in (-1, 4):
        with pytest.raises(IndexError, match=r"row must lie in \[0, 4\)"):
            captions[row]
    with pytest.raises(ValueError, match="do not match"):
        Captions(captions.text, captions.ends, captions.counts + 1)


def test_a_store_has_captions_where_there_are_any(tmp_path: Path) -> None:
    sizes = {"train": 20, "val": 7, "test": 0}
    digits_store(tmp_path / "with", sizes, captions=spelled_out)
    digits_store(tmp_path / "without", sizes)
    train, plain = (open_split(tmp_path / name, "train") for name in ("with", "without"))
    assert train.captions is not None
    assert list(train.captions)[:5] == [
        *[(f"a handwritten {name}",) for name in ("zero", "one", "two", "three")],
        ("a handwritten four", "the number four"),
    ]
    assert train.captions[6] == ()
    assert plain.captions is None
    digits_store(tmp_path / "other", sizes, captions=lambda _, labels: Captions.of([("a digit",)] * len(labels)))
    assert len({one.sha256 for one in (train, plain, open_split(tmp_path / "other", "train"))}) == 3
    assert open_split(tmp_path / "with", "test").captions is None
    names = [path.relative_to(tmp_path / "without") for path in (tmp_path / "without").rglob("*")]
    assert not [name for name in names if "captions" in name.name or "moments" in name.name]


def test_captions_that_are_gone_or_of_other_images_are_told(tmp_path: Path) -> None:
    digits_store(tmp_path, {"train": 20}, captions=spelled_out)
    (tmp_path / "train" / "captions.npz").unlink()
    with pytest.raises(PipelineError, match=r"captions\.npz"):
        open_split(tmp_path, "train")
    digits_store(tmp_path, {"train": 20}, captions=lambda *_: Captions.of(ROWS))
    with pytest.raises(PipelineError, match="do not match"):
        open_split(tmp_path, "train")


def test_what_is_no_caption_is_left_out_and_named() -> None:
    captions = ("", " \t\u2003\n", "cat", "a\0b", "\ud83d", "cat", " cat")
    records, dropped = sift([Record("a.png", captions=captions), Record("b.png")])
    assert [record.captions for record in records] == [("cat", " cat"), ()]
    assert [line.note.split(",")[0] for line in dropped] == [
        "empty",
        "empty",
        "a zero character",
        "half of a surrogate pair",
        "repeated for its image",
    ]


def test_copies_keep_the_captions_of_all() -> None:
    records = [
        Record("a.png", captions=("of a", "of both")),
        Record("b.png", label="cat", captions=("of b", "of both")),
        Record("c.png"),
    ]
    ((content,), copies) = merge_copies((b"same pixels", record) for record in records)
    assert content.record.path == "b.png"
    assert content.captions == ("of b", "of both", "of a")
    assert [copy.path for copy in copies] == ["a.png", "c.png"]


def test_ingest_stores_counts_and_lists_captions(tmp_path: Path) -> None:
    images = some_digits(60, ("one",), ("one", "=two"), (" ", "three"), ("four", "four"))
    manifest = run(images, tmp_path / "out")
    assert manifest["captions"]["dropped"] == {"empty": 1, "repeated for its image": 1}
    assert {name: manifest["captions"][name] for name in ("images", "captions", "different", "longest")} == {
        "images": 4,
        "captions": 5,
        "different": 4,
        "longest": 5,
    }
    assert (manifest["counts"]["captions"], manifest["counts"]["captioned"]) == (5, 4)
    stored = [open_split(tmp_path / "out" / "store", name).captions or () for name in SPLITS]
    assert sorted(row for captions in stored for row in captions if row) == [
        ("four",),
        ("one",),
        ("one", "=two"),
        ("three",),
    ]
    assert sum(place["captions"] for place in manifest["captions"]["splits"].values()) == 5
    lines = (tmp_path / "out" / "captions.csv").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "path,caption,note",
        "0002-2.png, ,left out: empty",
        "0003-3.png,four,left out: repeated for its image",
        "0000-0.png,one,of 2 images",
    ]
    assert (
        "4 of 60 images have 5 captions, 4 of them different: see data/ingested/captions.csv." in manifest["warnings"]
    )
    told = "2 captions are left out (1 empty, 1 repeated for its image): see data/ingested/captions.csv."
    assert told in manifest["warnings"]


def test_captions_change_what_the_store_says_of_itself_and_no_image(tmp_path: Path) -> None:
    plain, told = run(some_digits(60), tmp_path / "plain"), run(some_digits(60, ("one",)), tmp_path / "told")
    assert plain["source"]["sha256"] != told["source"]["sha256"]
    assert "captions" not in plain
    assert "captions" not in plain["counts"]
    before, after = contents(tmp_path / "plain"), contents(tmp_path / "told")
    assert after.keys() - before.keys() == {
        "captions.csv",
        next(name for name in after if name.endswith("captions.npz")),
    }
    assert [name for name in before if before[name] != after[name] and name.endswith((".npy", ".csv"))] == []
    assert table(tmp_path / "told" / "captions.csv") == {}
