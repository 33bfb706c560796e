"""Two hundred hostile captions: each is restored byte for byte, or listed with the reason why it was left out."""

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ssl_pipeline.data.source import Images
from ssl_pipeline.data.store import SPLITS, open_split
from ssl_pipeline.data.tables import csv_line
from ssl_pipeline.terminal import printable
from ssl_pipeline_plugins.sources.digits import Digits
from ssl_pipeline_plugins.sources.folder import Folder
from tests.data.hostile_captions import HOSTILE
from tests.data.test_ingest import digit, run, save

LEFT_OUT = (
    "empty",
    "a zero character, as in text that is not UTF-8",
    "half of a surrogate pair, which UTF-8 cannot hold",
)
SPOKEN = [text for text in HOSTILE if not any("\ud800" <= letter <= "\udfff" for letter in text)]


def stored(out: Path) -> dict[str, tuple[str, ...]]:
    """Return the captions in a store by the names of their images."""
    rows = list(csv.DictReader(io.StringIO((out / "store" / "index.csv").read_text(encoding="utf-8"), newline="")))
    splits = {name: open_split(out / "store", name).captions for name in SPLITS}
    return {row["path"]: (splits[row["split"]] or {int(row["row"]): ()})[int(row["row"])] for row in rows}


def listed(out: Path) -> dict[str, list[str]]:
    """Return the reasons why captions were left out, by the names of their images."""
    found: dict[str, list[str]] = {}
    for line in csv.DictReader(io.StringIO((out / "captions.csv").read_text(encoding="utf-8"), newline="")):
        if line["note"].startswith("left out: "):
            found.setdefault(line["path"], []).append(line["note"].removeprefix("left out: "))
    return found


def accounted_for(out: Path, given: Mapping[str, tuple[str, ...]]) -> int:
    """Compare each caption with its outcome; return how many captions were stored."""
    kept, left_out = stored(out), listed(out)
    for name, texts in given.items():
        assert len(kept[name]) + len(left_out.get(name, [])) == len(texts)
        assert list(dict.fromkeys(text for text in texts if text in kept[name])) == list(kept[name])
        assert set(left_out.get(name, [])) <= {*LEFT_OUT, "repeated for its image"}
    return sum(map(len, kept.values()))


def test_there_are_two_hundred() -> None:
    assert len(HOSTILE) == 200


def test_a_source_may_say_anything(tmp_path: Path) -> None:
    digits = Digits().open()
    records = [record._replace(captions=(text,)) for record, text in zip(digits.records[:200], HOSTILE, strict=True)]
    run(Images(records, digits.read, portable=False), tmp_path / "out")
    count = accounted_for(tmp_path / "out", {record.path: record.captions for record in records})
    notes = [note for notes in listed(tmp_path / "out").values() for note in notes]
    assert count == 200 - len(notes)
    assert sorted(set(notes)) == sorted(LEFT_OUT)
    assert [notes.count(reason) for reason in LEFT_OUT] == [28, 5, 6]


def test_what_is_said_of_them_is_harmless(tmp_path: Path) -> None:
    digits = Digits().open()
    records = [record._replace(captions=HOSTILE) for record in digits.records[:8]]
    manifest = run(replace(digits, records=records), tmp_path / "out")
    said = json.dumps(manifest, ensure_ascii=False)
    assert len(said) < 10_000
    for line in csv.reader(io.StringIO((tmp_path / "out" / "captions.csv").read_text(encoding="utf-8"), newline="")):
        assert all(printable(cell, kept="") == cell for cell in line)
        assert not line[1].startswith(("=", "+", "-", "@"))
        assert len(line[1]) < 1300  # 200 characters, each escaped as six


def in_a_table(root: Path) -> dict[str, tuple[str, ...]]:
    lines = [csv_line(("path", "caption")), *(csv_line((f"{row}.png", text)) for row, text in enumerate(SPOKEN))]
    (root / "labels.csv").write_bytes("".join(lines).encode())
    return {f"{row}.png": (text,) for row, text in enumerate(SPOKEN)}


def in_texts(root: Path) -> dict[str, tuple[str, ...]]:
    """Write each text to a file; each line is a caption, and a byte order mark at the start belongs to the file."""
    for row, text in enumerate(SPOKEN):
        (root / f"{row}.txt").write_bytes(text.encode())
    lines = [[line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")] for text in SPOKEN]
    return {f"{row}.png": tuple(line for line in mine if line) or ("",) for row, mine in enumerate(lines)}


@pytest.mark.parametrize("write", [in_a_table, in_texts])
def test_files_may_hold_anything(write: Callable[[Path], dict[str, tuple[str, ...]]], tmp_path: Path) -> None:
    for row in range(len(SPOKEN)):
        save(tmp_path / "images" / f"{row}.png", digit(row))
    given = write(tmp_path / "images")
    run(Folder(path=str(tmp_path / "images")).open(), tmp_path / "out")
    assert accounted_for(tmp_path / "out", given) > 150
