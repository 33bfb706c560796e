"""Ingest: nothing is lost, nothing leaks between splits, and the bytes depend on the pictures alone."""

import csv
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ssl_pipeline.data import audit, parallel
from ssl_pipeline.data import ingest as ingestion
from ssl_pipeline.data.decode import Canvas, read_pixels, to_canvas
from ssl_pipeline.data.identity import content_hash
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline.data.labels import read_labels
from ssl_pipeline.data.source import Images
from ssl_pipeline.data.store import open_split, read_originals
from ssl_pipeline.errors import PipelineError
from ssl_pipeline_plugins.sources.digits import Digits
from ssl_pipeline_plugins.sources.folder import Folder
from tests.factories import read_index

CANVAS = Canvas(size=8, resize="squash", background=(255, 255, 255), min_side=6, max_megapixels=1.0)
SHARES = Shares(seed=0, val_fraction=0.15, test_fraction=0.25, max_reject_fraction=0.5)
DIGITS = load_digits()


def digit(number: int) -> npt.NDArray[np.uint8]:
    pixels: npt.NDArray[np.uint8] = (DIGITS.images[number] * 15).astype(np.uint8)
    return pixels


def save(path: Path, picture: npt.NDArray[Any] | Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(path, **options)


def classes(root: Path, number: int = 40) -> Path:
    for index in range(number):
        save(root / f"{DIGITS.target[index]}" / f"{index:03}.png", digit(index))
    return root


def run(root: Path | Images, out: Path, shares: Shares = SHARES, workers: int | None = 1) -> dict[str, Any]:
    out.mkdir(parents=True)
    images = root if isinstance(root, Images) else Folder(path=str(root)).open()
    return ingest(images, out, CANVAS, shares, out / "reports", workers)


def table(path: Path) -> dict[str, dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return {line["path"]: line for line in csv.DictReader(file)}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def plant(root: Path) -> Path:
    """Write images of every unusual kind and files of every broken kind among good images."""
    classes(root, 30)
    odd = root / "odd"
    big = np.kron(digit(40), np.ones((5, 4), np.uint8))  # 40 high, 32 wide
    exif = Image.Exif()
    exif[0x0112] = 6
    save(odd / "turned.jpg", big, exif=exif)
    save(odd / "inks.jpg", Image.fromarray(np.dstack([big] * 4), "CMYK"))
    save(odd / "palette.gif", Image.fromarray(np.dstack([big, big // 2, big // 3])).convert("P"))
    save(odd / "glass.png", np.dstack([big, big, big, big]))
    save(odd / "deep.png", big.astype(np.uint16) * 256)
    save(odd / "bits.png", Image.fromarray(big).convert("1"))
    save(odd / "float.tif", (255 - big).astype(np.float32) / 255)
    save(odd / "film.gif", Image.fromarray(big), save_all=True, append_images=[Image.fromarray(big // 2)])
    (odd / "no suffix").write_bytes((odd / "deep.png").read_bytes())
    shutil.copy(root / "0" / "000.png", root / "copy of 0.png")  # the same file again, but without a label
    save(root / "1" / "another format.bmp", digit(0))  # the same picture, but with another label
    bad = root / "bad"
    save(bad / "whole.png", np.kron(digit(41), np.ones((9, 9), np.uint8)))
    whole = (bad / "whole.png").read_bytes()
    (bad / "empty.jpg").touch()
    (bad / "half.png").write_bytes(whole[: len(whole) // 2])
    (bad / "text.jpg").write_text("no image")
    (bad / "noise.jpg").write_bytes(bytes(range(256)))
    save(bad / "tiny.png", digit(1)[:3])
    save(bad / "huge.png", Image.new("1", (2000, 2000)))
    (bad / "gone.png").symlink_to(root / "nowhere.png")
    os.mkfifo(bad / "pipe.png")
    for name in ("README", "Thumbs.db", ".hidden.png", "notes.txt", "__MACOSX/0/000.png"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return root


BAD = {
    "bad/empty.jpg": "empty file",
    "bad/half.png": "broken",
    "bad/text.jpg": "not an image",
    "bad/noise.jpg": "not an image",
    "bad/tiny.png": "too small",
    "bad/huge.png": "too large",
    "bad/gone.png": "unreadable",
    "bad/pipe.png": "unreadable",
}


@pytest.mark.parametrize("packed", [False, True], ids=["directory", "zip"])
def test_whatever_is_in_the_pile_is_accounted_for(packed: bool, tmp_path: Path) -> None:
    root = plant(tmp_path / "pile")
    files = {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}
    bad = dict(BAD)
    if packed:
        files -= {"bad/gone.png", "bad/pipe.png"}
        bad = {path: kind for path, kind in bad.items() if path in files}
        with zipfile.ZipFile(tmp_path / "pile.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name in files:
                archive.write(root / name, name)
        root = tmp_path / "pile.zip"
    out = tmp_path / "out"
    manifest = run(root, out)

    stored = {row.path for row in read_index(out / "store")}
    rejects, copies = table(out / "rejects.csv"), table(out / "duplicates.csv")
    ignored = table(out / "ignored.csv")
    assert sorted([*stored, *rejects, *copies, *ignored]) == sorted(files)  # each file exactly once
    assert {path: line["reason"].partition(":")[0] for path, line in rejects.items()} == bad
    assert ignored.keys() == {"README", "Thumbs.db", ".hidden.png", "notes.txt", "__MACOSX/0/000.png"}
    # one picture is in three files: in a class, in another class and unlabelled; one file stays, without a label
    assert copies.keys() == {"1/another format.bmp", "copy of 0.png", "odd/no suffix"}
    assert [row.label for row in read_index(out / "store") if row.path == "0/000.png"] == [""]

    counts = manifest["counts"]
    assert sum(counts[split] for split in ("train", "val", "test")) == len(stored)
    assert (counts["rejected"], counts["duplicates"], counts["ignored"]) == (len(bad), 3, 5)
    assert sum(manifest["rejects"].values()) == len(bad)
    assert json.loads((out / "manifest.json").read_text()) == json.loads(json.dumps(manifest))
    words = " ".join(manifest["warnings"])
    assert f"{len(bad)} files are rejected" in words
    assert "3 files hold the same picture as another file" in words
    assert "1 picture has copies with conflicting labels, such as 0/000.png" in words
    assert not (out / "reports" / "rejects.csv").exists()


def test_the_store_holds_the_pictures(tmp_path: Path) -> None:
    root, out = classes(tmp_path / "pile"), tmp_path / "out"
    run(root, out)
    for name in ("train", "val", "test"):
        split = open_split(out / "store", name)  # type: ignore[arg-type]
        rows = [row for row in read_index(out / "store") if row.split == name]
        assert [row.row for row in rows] == list(range(len(split)))
        assert [row.id for row in rows] == sorted(row.id for row in rows)
        canvases = split.images(np.arange(len(split)))
        found = read_labels(out / "store", name)  # type: ignore[arg-type]
        for row, canvas, label, number in zip(rows, canvases, found.labels, split.ids, strict=True):
            pixels, _ = read_pixels((root / row.path).read_bytes(), CANVAS)
            np.testing.assert_array_equal(canvas, to_canvas(Image.fromarray(pixels), 8, "squash", (255, 255, 255)))
            assert row.id == content_hash(pixels).hex()
            assert int(row.id[:16], 16) == number
            assert found.classes[label] == row.path.split("/")[0]
            assert (row.width, row.height) == (8, 8)


def test_the_bytes_depend_on_neither_workers_nor_the_order_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = plant(tmp_path / "pile")
    run(root, tmp_path / "one")
    expected = contents(tmp_path / "one")
    assert len(expected) == 24
    monkeypatch.setattr(parallel, "SERIAL_SECONDS", 0.0)
    monkeypatch.setattr(parallel, "CHUNK_IMAGES", 4)
    run(root, tmp_path / "three", workers=3)
    assert contents(tmp_path / "three") == expected
    scan = os.scandir
    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: list(scan(path))[::-1])
        images = Folder(path=str(root)).open()
    run(images, tmp_path / "reversed")
    assert contents(tmp_path / "reversed") == expected


def test_a_source_that_cannot_travel_is_read_here_and_decoded_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Digits().open()
    records = source.records[:100]

    def read(path: str, limit: int) -> bytes | Image.Image:
        return b"" if path == records[3].path else source.read(path, limit)

    few = Images(records, read, portable=False)
    run(few, tmp_path / "one", workers=1)
    monkeypatch.setattr(parallel, "SERIAL_SECONDS", 0.0)
    run(few, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert [line["reason"] for line in table(tmp_path / "one" / "rejects.csv").values()] == ["empty file"]


def test_labels_and_test_images_leave_train_as_it_is(tmp_path: Path) -> None:
    """If the source names the splits, pretraining reads a function of the training images alone."""
    for name in ("a", "b"):
        for index in range(60):
            split = ("train", "train", "val", "test")[index % 4]
            label = DIGITS.target[index] if name == "a" else (index * 7) % 10
            number = index if name == "a" or split != "test" else index + 500
            save(tmp_path / name / split / f"{label}" / f"{index}.png", digit(number))
        run(tmp_path / name, tmp_path / f"out {name}")
    first, second = (contents(tmp_path / f"out {name}" / "store" / "train") for name in ("a", "b"))
    assert first == second
    labels = [read_labels(tmp_path / f"out {name}" / "store", "train").labels.tolist() for name in ("a", "b")]
    assert labels[0] != labels[1]


def test_too_many_rejects_fail_and_are_listed(tmp_path: Path) -> None:
    root = plant(tmp_path / "pile")
    allowed = Shares(0, 0.15, 0.25, max_reject_fraction=0.1)
    with pytest.raises(PipelineError, match=r"8 of 50 images cannot be used, .*allows 0.1") as caught:
        run(root, tmp_path / "out", allowed)
    listed = tmp_path / "out" / "reports" / "rejects.csv"
    assert str(listed) in str(caught.value)
    assert "bad/empty.jpg: empty file" in str(caught.value)
    assert "and 3 more" in str(caught.value)
    assert table(listed).keys() == BAD.keys()


def test_nothing_left_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / "pile").mkdir(exist_ok=True)
        (tmp_path / "pile" / name).write_text("no image")
    with pytest.raises(PipelineError, match=r"2 of 2 images cannot be used, and none is left"):
        run(tmp_path / "pile", tmp_path / "out", Shares(0, 0.15, 0.25, max_reject_fraction=1.0))


def test_one_image_only_is_refused(tmp_path: Path) -> None:
    for name in ("1.png", "the same again.png"):
        save(tmp_path / "pile" / name, digit(0))
    with pytest.raises(PipelineError, match=r"Only 1 image is left to pretrain on \(0 are in val, 0 in test\)"):
        run(tmp_path / "pile", tmp_path / "out")


def test_images_all_alike_are_refused(tmp_path: Path) -> None:
    for side in range(8, 28):
        save(tmp_path / "pile" / f"{side}.png", np.full((side, side), 90, np.uint8))
    with pytest.raises(PipelineError, match=r"All 17 images to pretrain on look alike \(they differ by 0.00 grey"):
        run(tmp_path / "pile", tmp_path / "out")


def test_a_full_disk_is_noticed_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = classes(tmp_path / "pile")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(PipelineError, match=r"40 images on a canvas of 8 px need .* Free some space, or lower ingest"):
        run(root, tmp_path / "out")


def test_files_that_change_meanwhile_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = classes(tmp_path / "pile")
    check = audit.check_pool

    def meddle(*args: Any) -> None:
        check(*args)
        for path in root.rglob("*.png"):
            save(path, digit(1000))

    monkeypatch.setattr(audit, "check_pool", meddle)
    with pytest.raises(PipelineError, match=r"png changed while it was read"):
        run(root, tmp_path / "out")


def test_originals_show_every_mode_and_many_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = plant(tmp_path / "pile")
    monkeypatch.setattr(ingestion, "ORIGINALS", 12)
    run(root, tmp_path / "out", Shares(0, 0.15, 0.01, 0.5))
    originals = read_originals(tmp_path / "out" / "store")
    index = {(row.split, row.row): row for row in read_index(tmp_path / "out" / "store")}
    assert len(originals) == 12
    assert {original.split for original in originals} <= {"train", "val"}
    paths = set()
    for original in originals:
        row = index[original.split, original.row]
        paths.add(row.path)
        assert content_hash(original.image).hex() == row.id
        assert original.image.shape == (row.height, row.width, 3)
    kept = [row for row in index.values() if row.split != "test"]
    odd = ("inks.jpg", "palette.gif", "glass.png", "deep.png", "bits.png", "float.tif")
    assert {f"odd/{name}" for name in odd} & {row.path for row in kept} <= paths  # each mode at least once
    assert {original.image.shape for original in originals} == {(row.height, row.width, 3) for row in kept}


def test_originals_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingestion, "ORIGINALS_BYTES", 5 * 8 * 8 * 3)
    run(classes(tmp_path / "pile"), tmp_path / "out")
    assert len(read_originals(tmp_path / "out" / "store")) == 5
