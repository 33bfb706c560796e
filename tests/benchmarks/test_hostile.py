"""The script that tries damaged files detects what must not happen: lost files, tracebacks, hangs and crashes."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import hostile
from benchmarks.mutations import damage, garble
from ssl_pipeline.errors import PipelineError


def test_damage_is_decided_by_the_seed() -> None:
    content = bytes(range(256)) * 20
    found = [damage(content, random.Random(seed)) for seed in range(50)]
    assert found == [damage(content, random.Random(seed)) for seed in range(50)]
    assert len({*found, content}) > 45
    text = "a: 1\nb:\n  c: [2, 3]\n" * 5
    assert garble(text, random.Random(1)) == garble(text, random.Random(1)) != text


@pytest.mark.parametrize("kind", ["images", "films", "archives", "params"])
def test_what_can_be_read_is_tried(kind: str, tmp_path: Path) -> None:
    hostile.MAKE[kind](tmp_path, 3, random.Random(0))
    outcomes = [hostile.attempt(kind, path) for path in sorted(tmp_path.iterdir())]
    assert outcomes
    assert set(outcomes) <= {"whole", "told"}


def test_losses_tracebacks_and_long_messages_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: Exception) -> None:
        def attempt(path: Path) -> str:
            raise error

        monkeypatch.setitem(hostile.TRY, "params", attempt)

    fail(KeyError("x"))
    assert hostile.attempt("params", tmp_path).startswith("traceback: ")
    fail(PipelineError("x" * 10**6))
    assert hostile.attempt("params", tmp_path) == "long: 1000000 characters"
    hostile.make_images(tmp_path, 1, random.Random(0))
    monkeypatch.setattr(hostile, "ingest", lambda source, out, *rest, **more: ingest_but_one(source, out))
    assert hostile.attempt("images", tmp_path / "000000").startswith("lost: ")


def ingest_but_one(source: object, out: Path) -> None:
    (out / "store").mkdir()
    for name in ("store/index.csv", "near_copies.csv", "rejects.csv", "duplicates.csv", "ignored.csv"):
        (out / name).write_text("path,left_out\n", encoding="utf-8")


def test_a_process_that_hangs_or_dies_ends() -> None:
    for code in ("import time; time.sleep(60)", "import os; os.abort()"):
        words = (sys.executable, "-c", code)
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
            assert hostile.read_line(child, 0.5) == ""
            assert child.wait() != 0
