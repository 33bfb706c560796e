"""Decoding processes: each file has limits, only one that breaks them is lost, and none outlives its parent."""

import functools
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from ssl_pipeline.data import parallel, workers
from ssl_pipeline.data.chunk import Chunk
from ssl_pipeline.data.decode import Canvas, Decoded
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import Images
from ssl_pipeline.errors import PipelineError
from ssl_pipeline_plugins.sources.digits import Digits

CANVAS = Canvas(size=8, resize="squash", background=(255, 255, 255), min_side=6, max_megapixels=1.0)


def test_a_killed_process_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "SERIAL_SECONDS", 0.0)
    monkeypatch.setattr(parallel, "CHUNK_IMAGES", 1)
    digits = Digits().open()

    def read(path: str, limit: int) -> bytes | Image.Image:
        for process in multiprocessing.active_children():
            process.kill()
        return digits.read(path, limit)

    source = Images(digits.records[:20], read, portable=False)
    with pytest.raises(PipelineError, match=r"A decoding process was killed.*Lower max_megapixels"):
        list(parallel.decode_all(source, CANVAS, 2))


def jpeg(shade: int, side: int = 16, scans: int = 1) -> bytes:
    """Return a grey JPEG whose last scan, which adds nothing, is repeated: few bytes that take long to decode."""
    file = io.BytesIO()
    Image.new("L", (side, side), shade).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * scans + content[-2:]


SLOW = jpeg(0, side=1000, scans=2000)  # 28 KB


def read_odd(name: str, limit: int) -> bytes:
    """Read nine good files and one bad file."""
    if not name.startswith("odd"):
        return jpeg(10 * int(name))
    if name == "odd: crashes":
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)  # pytest's own handler would print a traceback
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "odd: exits":
        os._exit(3)  # as a C library's exit() does
    if name == "odd: waits":
        time.sleep(600)
    if name == "odd: a bug":
        raise KeyError("of ours")
    if name == "odd: hungry":
        return bytes(2**30)
    return SLOW


def outcomes(odd: str, number: int) -> list[parallel.DecodingOutcome]:
    names = ["1", "2", "3", odd, "5", "6", "7", "8", "9", "10"]
    return list(parallel.decode_all(Images([Record(name) for name in names], read_odd), CANVAS, number))


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        ("odd: slow", "too slow: decoding took more than 0.3 s plus 0.5 s per megabyte"),
        ("odd: waits", "too slow: reading and decoding took more than 3 s plus 5 s per megabyte"),
        ("odd: crashes", "broken: its decoder crashed (SIGSEGV)"),
        ("odd: exits", "broken: its decoder ended with status 3"),
        ("odd: hungry", "too large: it does not fit in memory"),
    ],
)
def test_only_the_file_that_breaks_its_bounds_is_lost(
    odd: str, reason: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parallel, "SECONDS", 0.3)
    monkeypatch.setattr(parallel, "CHUNK_IMAGES", 4)
    monkeypatch.setattr(parallel, "SERIAL_SECONDS", 0.0)
    got = outcomes(odd, number)
    assert len(got) == 10
    bad = got.pop(3)
    assert isinstance(bad, RejectedError)
    assert str(bad) == reason
    shades = [np.frombuffer(one.canvas, np.uint8).mean() for one in got if isinstance(one, Decoded)]
    np.testing.assert_allclose(shades, [10, 20, 30, 50, 60, 70, 80, 90, 100], atol=2)
    assert not multiprocessing.active_children()


def test_a_bug_of_ours_ends_the_run_and_keeps_its_traceback() -> None:
    with pytest.raises(KeyError, match="of ours") as caught:
        outcomes("odd: a bug", 1)
    assert any("in read_odd" in note for note in caught.value.__notes__)


def test_an_outcome_that_cannot_be_sent_is_a_bug_of_ours_and_no_file_s_fault() -> None:
    chunk = Chunk(["a"], str.encode, _make_what_cannot_be_sent)
    limits = workers.Limits(seconds=5.0, seconds_per_byte=0.0, memory=2**28)
    with pytest.raises(Exception, match="(?i)pickle"):
        list(workers.in_order([chunk], 1, limits, 0.0))


def _make_what_cannot_be_sent(content: bytes) -> object:
    return lambda: content


def test_a_file_that_decodes_in_time_does_so_again_and_again() -> None:
    """The time limit applies to each file separately."""
    work: Callable[[bytes], bytes] = functools.partial(_spin, 0.15)
    chunk = Chunk(["a", "b", "c", "d"], str.encode, work)
    limits = workers.Limits(seconds=0.4, seconds_per_byte=0.0, memory=2**28)
    assert list(workers.in_order([chunk], 1, limits, 0.0)) == [b"a", b"b", b"c", b"d"]


def test_large_files_may_take_longer() -> None:
    work: Callable[[bytes], bytes] = functools.partial(_spin, 0.3)
    chunk = Chunk(["a", "b" * 10, "c"], str.encode, work)
    limits = workers.Limits(seconds=0.1, seconds_per_byte=0.1, memory=2**28)
    first, second, third = workers.in_order([chunk], 1, limits, 0.0)
    assert (first.kind, second, third.kind) == ("too slow", b"b" * 10, "too slow")


def _spin(seconds: float, content: bytes) -> bytes:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return content


WAITING = """
import sys, time
from ssl_pipeline.data import parallel
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.source import Images

def read(name, limit):
    print(name, flush=True)
    time.sleep(60)

if __name__ == "__main__":
    parallel.SERIAL_SECONDS, parallel.CHUNK_IMAGES = 0.0, 1
    records = [Record(str(number)) for number in range(9)]
    try:
        list(parallel.decode_all(Images(records, read), Canvas(8, "squash", (0, 0, 0), 1, 1.0), 2))
    except KeyboardInterrupt:
        sys.exit(130)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_decoding_processes_end_with_their_parent(number: int, tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(WAITING)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert {parent.stdout.readline(), parent.stdout.readline()} == {b"0\n", b"1\n"}
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= 2
        parent.send_signal(number)
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive


def test_what_is_held_for_a_slow_file_is_bounded_and_the_order_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "HELD_BYTES", 300_000)
    monkeypatch.setattr(workers, "HEARD_BYTES", 50_000)
    chunks = [Chunk([f"{chunk}.{n}" for n in range(30)], str, _make_100_kb_slowly_at_first) for chunk in "abc"]
    heard = workers._heard
    held: list[int] = []

    def noting(crew: list[Any], ordered: Any) -> Any:
        held.append(sum(sum(chunk.held) for chunk in ordered))
        return heard(crew, ordered)

    monkeypatch.setattr(workers, "_heard", noting)
    limits = workers.Limits(seconds=5.0, seconds_per_byte=0.0, memory=2**28)
    found = list(workers.in_order(chunks, 3, limits, 0.0))
    assert [one[:4].rstrip("-") for one in found] == [name for chunk in chunks for name in chunk.names]
    assert 300_000 <= max(held) <= 600_000
    assert all(outcome is None for chunk in chunks for outcome in chunk.outcomes)


def _make_100_kb_slowly_at_first(name: str) -> str:
    time.sleep(0.6 if name == "a.0" else 0.0)
    return name.ljust(100_000, "-")
