"""Ingest many images under a memory limit: `python -m benchmarks.many_images [NUMBERS ...]`.

For each number of images (10,000 and 100,000 by default), that many different JPEG files of 40 px are written, in
classes of a thousand, and the stage runs on them, with `RLIMIT_DATA` set to 2 GiB for each of its processes. For each
number, a line of JSON is printed with the seconds and the peak memory of the main process and of all processes together
(resident set size, sampled twice per second). The last line states by how much the main process grew per image.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil
from PIL import Image

from benchmarks.project import change, copy_project, environment

LIMIT = 2 * 2**30  # bytes of data per process
SIDE, BLOCKS = 40, 5
CLASS = 1000


def write_images(folder: Path, number: int) -> None:
    generator = np.random.default_rng(0)
    for index in range(number):
        place = folder / f"{index // CLASS:04}"
        place.mkdir(parents=True, exist_ok=True)
        blocks = generator.integers(0, 256, (BLOCKS, BLOCKS, 3), dtype=np.uint8)
        pixels = np.repeat(np.repeat(blocks, SIDE // BLOCKS, axis=0), SIDE // BLOCKS, axis=1)
        Image.fromarray(pixels).save(place / f"{index:07}.jpg", quality=90)


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))


def resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def watch(folder: Path, words: Sequence[str]) -> dict[str, Any]:
    """Run Python with the arguments `words` in a folder; return its exit status, times (s) and peak memory (MiB)."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    stage = subprocess.Popen(
        (sys.executable, *words),
        cwd=folder,
        env=environment(),
        preexec_fn=limited,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    main, everyone, process = 0, 0, psutil.Process(stage.pid)
    while stage.poll() is None:
        own = resident(process)
        children = [resident(child) for child in process.children(recursive=True)] if own else []
        main, everyone = max(main, own), max(everyone, own + sum(children))
        time.sleep(0.5)
    assert stage.stderr is not None
    said = stage.stderr.read().strip().splitlines()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "status": stage.returncode,
        "seconds": round(time.monotonic() - began, 1),
        "processor_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1),
        "main_mib": main >> 20,
        "all_mib": everyone >> 20,
        "said": said[-1:] if stage.returncode else [],
    }


@click.command()
@click.argument("numbers", type=int, nargs=-1)
def main(numbers: tuple[int, ...]) -> None:
    """Print the time and memory of ingest for each of NUMBERS of images, 10,000 and 100,000 by default."""
    numbers = numbers or (10_000, 100_000)
    found = []
    for number in numbers:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / "project"
            copy_project(folder)
            write_images(folder / "images", number)
            change(folder, ingest={"source": {"name": "folder", "path": "images"}})
            facts = watch(folder, ("-m", "ssl_pipeline", "ingest"))
            stored = json.loads((folder / "reports/ingest/details.json").read_text()) if not facts["status"] else {}
        print(json.dumps({"images": number, **facts, "stored": stored}), flush=True)
        found.append(facts["main_mib"])
    if len(numbers) > 1:
        grown = (found[-1] - found[0]) * 2**20 / (numbers[-1] - numbers[0])
        print(json.dumps({"what": "growth", "bytes_per_image": round(grown)}))


if __name__ == "__main__":
    main()
