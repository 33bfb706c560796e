"""`ssl-pipeline embed`: rows, rejects, shards, and how a stopped run resumes."""

import csv
import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from PIL import Image

import ssl_pipeline
from ssl_pipeline.data.decode import Canvas, content_hash, decode
from ssl_pipeline.embeddings import run as run_module
from ssl_pipeline.embeddings.table import vectors
from ssl_pipeline.runtime import Backbone
from tests.embeddings.conftest import Embed
from tests.embeddings.graphs import write_graph


def rows(path: str = "embeddings.parquet") -> tuple[list[dict[str, Any]], Any]:
    table = pq.read_table(path)
    return table.drop_columns("embedding").to_pylist(), vectors(table["embedding"])


def names(*folders: str) -> list[str]:
    return [path.as_posix() for folder in folders for path in sorted(Path(folder).rglob("*.png"))]


def test_a_folder_becomes_a_table_in_the_order_of_its_names(call: Embed, model: Path):
    done = call("images")
    assert (done.exit_code, done.stdout) == (
        0,
        "embeddings.parquet: 23 images embedded, 48 numbers each; none rejected.\n",
    )
    known, found = rows()
    assert [row["path"] for row in known] == names("images")
    np.testing.assert_allclose(found, ssl_pipeline.embed(model, names("images")), atol=1e-6)
    assert pq.read_schema("embeddings.parquet").field("embedding").type == pa.list_(pa.float32(), 48)
    first = decode(Path("images/a/00.png").read_bytes(), Canvas(8, "squash", (0, 0, 0), 1, 1.0))
    assert known[0] == {"path": "images/a/00.png", "width": 20, "height": 12, "sha256": first.digest.hex()}
    assert not list(Path().glob("*.begun"))


def test_files_folders_and_archives_are_mixed_and_what_is_named_twice_counts_once(call: Embed):
    with zipfile.ZipFile("more.zip", "w") as archive:
        for name in ("z/1.png", "z/0.png"):
            archive.write("images/b/01.png", name)
        archive.writestr("readme.txt", "no image")
    done = call("images/b/03.png", "more.zip", "images/b", "./images/b/05.png", "images/a/02.png")
    first = ["images/b/03.png", "more.zip/z/0.png", "more.zip/z/1.png"]
    rest = [name for name in names("images/b") if name != first[0]]
    known, found = rows()
    assert [row["path"] for row in known] == [*first, *rest, "images/a/02.png"]
    np.testing.assert_array_equal(found[1], found[2])
    assert known[1]["sha256"] == known[3]["sha256"]
    assert done.stdout.endswith("none rejected; 1 file of other types ignored.\n")


def test_rejects_are_listed_with_their_reasons_and_counted(call: Embed, model: Path):
    Path("images/a/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    Path("notes.txt").write_text("no image")
    Image.new("L", (40, 30)).save("images/a/large.png")
    Path("images/b/link.png").symlink_to("gone.png")
    done = call("notes.txt", "images", "--max-megapixels", "0.001")
    assert done.exit_code == 0
    assert done.stdout.endswith("23 images embedded, 48 numbers each; 4 rejected, see embeddings.rejects.csv.\n")
    with open("embeddings.rejects.csv", newline="") as file:
        listed = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert listed.keys() == {"notes.txt", "images/a/broken.png", "images/a/large.png", "images/b/link.png"}
    assert listed["images/a/large.png"] == "too large: more than max_megapixels (0.001)"
    assert listed["images/b/link.png"] == "unreadable: a broken link"
    kept = [name for name in names("images") if name not in listed]
    assert [row["path"] for row in rows()[0]] == kept
    np.testing.assert_allclose(rows()[1], ssl_pipeline.embed(model, kept), atol=1e-6)
    (Path("images/a/broken.png")).unlink()
    Path("images/a/large.png").unlink()
    Path("images/b/link.png").unlink()
    assert call("images").stdout.endswith("none rejected.\n")
    assert not Path("embeddings.rejects.csv").exists()


def test_if_nothing_can_be_used_it_fails_and_writes_no_table(call: Embed):
    Path("notes.txt").write_text("no image")
    done = call("notes.txt")
    assert done.exit_code == 1
    assert "None of 1 image can be used, for example notes.txt (not an image: " in done.stderr
    assert not Path("embeddings.parquet").exists()
    assert Path("embeddings.rejects.csv").exists()
    assert not Path("embeddings.parquet.begun").exists()


def test_an_energy_of_single_images_is_a_column(call: Embed):
    energy = write_graph(Path("energy.onnx"), energy=True)
    Path("images/a/broken.png").write_bytes(b"nothing")
    assert call("images", "--energy", energy).exit_code == 0
    known, _ = rows()
    graph = Backbone(energy, output="energy")
    expected = [graph([np.asarray(Image.open(row["path"]))])[0] for row in known]
    np.testing.assert_allclose([row["energy"] for row in known], expected, rtol=1e-5)
    pairs = write_graph(Path("pairs.onnx"))
    assert "but a graph from images to energy is needed" in call("images", "--energy", pairs).stderr
    deep = write_graph(Path("deep.onnx"), "uint16", energy=True)
    assert "--energy: deep.onnx takes RGB of uint16" in call("images", "--energy", deep).stderr


def test_a_model_of_16_bits_takes_images_as_they_are(call: Embed):
    deep = write_graph(Path("deep.onnx"), "uint16", 2)
    values = np.arange(2 * 16, dtype=np.uint16).reshape(4, 4, 2)
    Path("deep").mkdir()
    np.save("deep/two.npy", values)
    np.save("deep/three.npy", np.zeros((4, 4, 3), np.uint16))
    done = call("deep", "images/a/00.png", "--model", deep)
    assert "1 image embedded, 32 numbers each; 2 rejected" in done.stdout
    assert Path("embeddings.rejects.csv").read_text().splitlines()[1:] == [
        "deep/three.npy,not what the model takes: 3 x uint16 instead of 2 x uint16",
        "images/a/00.png,not what the model takes: 3 x uint8 instead of 2 x uint16",
    ]
    np.testing.assert_array_equal(rows()[1], Backbone(deep)([values]))
    assert rows()[0][0]["sha256"] == content_hash(values).hex()


def test_an_array_beside_a_csv_has_the_same_rows(call: Embed):
    call("images")
    done = call("images", "--out", "out/embeddings.npy")
    assert "out/embeddings.npy: 23 images" in done.stdout
    known, found = rows()
    np.testing.assert_array_equal(np.load("out/embeddings.npy"), found)
    with open("out/embeddings.csv", newline="") as file:
        assert list(csv.DictReader(file)) == [{name: str(value) for name, value in row.items()} for row in known]


def rounded_by_company(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let embeddings depend on the images of the same batch, as large networks may in their last digits.

    Windows end after four images or earlier.
    """
    alone = Backbone.__call__

    def in_company(backbone: Backbone, images: Any) -> Any:
        return alone(backbone, images) + 1e-3 * len(images) + 1e-9 * sum(int(image.sum()) for image in images)

    monkeypatch.setattr(Backbone, "__call__", in_company)
    monkeypatch.setattr(run_module, "_WINDOW_IMAGES", 4)
    monkeypatch.setattr(run_module, "_WINDOW_PIXELS", 200)


@pytest.mark.parametrize("shards", [2, 3, 8])
def test_shards_make_the_bytes_of_one_process_whichever_ends_last(
    call: Embed, monkeypatch: pytest.MonkeyPatch, shards: int
):
    rounded_by_company(monkeypatch)
    call("images", "--out", "whole.parquet")
    for number in range(shards, 1, -1):
        done = call("images", "--shard", f"{number}/{shards}")
        assert done.stdout.startswith(f"Shard {number} of {shards} is done; embeddings.parquet is written once all ")
        assert not Path("embeddings.parquet").exists()
    done = call("images", "--shard", f"1/{shards}")
    assert done.stdout.startswith("embeddings.parquet: 23 images embedded")
    assert Path("embeddings.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    assert "is up to date" in call("images", "--shard", "2/3").stdout


@pytest.mark.parametrize("count", [1, 2, 3])
def test_ranks_of_a_launcher_make_the_bytes_of_one_process(call: Embed, monkeypatch: pytest.MonkeyPatch, count: int):
    rounded_by_company(monkeypatch)
    call("images", "--out", "whole.parquet")
    monkeypatch.setenv("WORLD_SIZE", str(count))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(count))
    for rank in reversed(range(count)):
        monkeypatch.setenv("RANK", str(rank))
        done = call("images")
        assert done.exit_code == 0
    assert Path("embeddings.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    if count > 1:
        assert "takes its own part" in call("images", "--shard", "1/2").stderr


def stopped(call: Embed, monkeypatch: pytest.MonkeyPatch, after: int) -> Result:
    """Ask a run to stop after the given number of windows of four images."""
    monkeypatch.setattr(run_module, "_WINDOW_IMAGES", 4)
    windows = run_module._in_threads

    def stopping(*arguments: Any) -> Any:
        for number, window in enumerate(windows(*arguments), 1):
            if number == after:
                os.kill(os.getpid(), signal.SIGINT)
            yield window

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "_in_threads", stopping)
        return call("images")


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(call: Embed, monkeypatch: pytest.MonkeyPatch):
    done = stopped(call, monkeypatch, 2)
    assert done.exit_code == 130
    assert "stopped after 8 of 23 images; the same command resumes from there" in done.stderr
    assert not Path("embeddings.parquet").exists()
    read = run_module.read_all

    def reading(inputs: Any, start: int, *rest: Any) -> Any:
        assert start == 8
        return read(inputs, start, *rest)

    monkeypatch.setattr(run_module, "read_all", reading)
    done = call("images")
    assert "8 of 23 images were already embedded by an earlier run" in done.stderr
    monkeypatch.setattr(run_module, "read_all", read)
    call("images", "--out", "whole.parquet")
    assert Path("embeddings.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    assert "is up to date" in call("images").stdout


def test_what_was_done_with_other_images_or_another_model_is_not_used(
    call: Embed, monkeypatch: pytest.MonkeyPatch, model: Path
):
    stopped(call, monkeypatch, 2)
    Image.open("images/a/02.png").rotate(90).save("images/a/00.png")
    done = call("images")
    assert "are not reused; changed since: images" in " ".join(done.stderr.split())
    np.testing.assert_allclose(rows()[1], ssl_pipeline.embed(model, names("images")), atol=1e-6)
    other = Path("other.onnx")
    other.write_bytes(changed_model(model))
    stopped(call, monkeypatch, 1)
    done = call("images", "--model", other)
    assert done.stdout.startswith("embeddings.parquet: 23 images embedded")
    assert "up to date" not in done.stdout


def changed_model(path: Path) -> bytes:
    import onnx

    model = onnx.load(path)
    model.metadata_props.add(key="note", value="another")
    return model.SerializeToString()


def test_two_runs_at_once_do_not_mix(call: Embed, model: Path, monkeypatch: pytest.MonkeyPatch):
    from ssl_pipeline import guard

    monkeypatch.setattr(guard, "LOCK_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(guard.only_run.__wrapped__, "__defaults__", (0.0,))  # type: ignore[attr-defined]
    stopped(call, monkeypatch, 1)
    (place,) = Path("embeddings.parquet.begun").glob("*/1-of-1")
    with guard.hold(place / "lock", 0.0) as mine:
        assert mine
        done = call("images")
    assert done.exit_code == 1
    assert "is in use" in done.stderr


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["nowhere"], 2, "IMAGES: nowhere does not exist. Name files, folders or .zip archives of images."),
        (["empty"], 2, "IMAGES: no images found in empty."),
        (["images", "--out", "table.csv"], 2, "--out: table.csv must end with .parquet or .npy."),
        (["images", "--shard", "3/2"], 2, "--shard: 3/2 must be I/N, with I from 1 to N, such as 2/8."),
        (["images", "--model", "none.onnx"], 1, "none.onnx does not exist."),
        (["images", "--model", "images/a/00.png"], 1, "images/a/00.png is not a graph that onnxruntime"),
        (["images", "--max-megapixels", "0"], 2, "--max-megapixels: 0 must be more than 0."),
    ],
)
def test_a_mistake_is_told_and_nothing_is_left(call: Embed, words: list[str], status: int, message: str):
    Path("empty").mkdir()
    done = call(*words)
    assert (done.exit_code, done.stdout) == (status, "")
    assert f"error: {message}" in done.stderr
    assert {path.name for path in Path().iterdir()} == {"images", "empty"}


def test_its_own_files_are_no_images(call: Embed):
    stopped_files = [Path("embeddings.parquet"), Path("embeddings.rejects.csv")]
    for path in stopped_files:
        path.write_text("of an earlier run")
    call(".")
    assert [row["path"] for row in rows()[0]] == names("images")
    assert "is up to date" in call(".").stdout


def test_it_runs_without_torch(call: Embed, model: Path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from ssl_pipeline_stages.main import main\n"
        f"main(['embed', 'images', '--model', {str(model)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("embeddings.parquet: 23 images")
