"""Decoding processes: they are told on when they die, and they do not outlive their parent."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

from ssl_pipeline.data import pool
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.sources import Source, open_source
from ssl_pipeline.errors import PipelineError

CANVAS = Canvas(size=8, resize="squash", background=(255, 255, 255), min_side=6, max_megapixels=1.0)


def test_a_killed_process_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "PATIENCE", 0.0)
    monkeypatch.setattr(pool, "CHUNK_IMAGES", 1)
    digits = open_source("digits", {})

    def read(path: str, limit: int) -> bytes | Image.Image:
        for process in multiprocessing.active_children():
            process.kill()
        return digits.read(path, limit)

    source = Source(digits.records[:20], read, portable=False)
    with pytest.raises(PipelineError, match=r"A decoding process was killed.*augment.max_megapixels"):
        list(pool.decode_all(source, CANVAS, 2))


SLOW = """
import sys, time
from ssl_pipeline.data import pool
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.sources import Source

def read(name, limit):
    print(name, flush=True)
    time.sleep(60)

if __name__ == "__main__":
    pool.PATIENCE, pool.CHUNK_IMAGES = 0.0, 1
    records = [Record(str(number)) for number in range(9)]
    try:
        list(pool.decode_all(Source(records, read), Canvas(8, "squash", (0, 0, 0), 1, 1.0), 2))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def test_decoding_processes_end_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert {parent.stdout.readline(), parent.stdout.readline()} == {b"0\n", b"1\n"}
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) >= 2
        parent.kill()
        _, alive = psutil.wait_procs(children, timeout=10)
        assert not alive
