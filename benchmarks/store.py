"""Time to open a large store and to read its labels, compared with reading its index.csv.

    python -m benchmarks.store [IMAGES]

A store of IMAGES (1,000,000 by default) tiny images in a thousand classes is written to a temporary folder. The
measurements take turns, each in a new process that has imported its modules but has not read any file. A line of JSON
for each states the median of the processor time, ms, and the quartiles.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np

from ssl_pipeline.data.labels import write_labels
from ssl_pipeline.data.store import SPLITS, IndexRow
from ssl_pipeline.data.writer import write_index, write_split

SIDE, CLASSES, BLOCK, RUNS = 4, 1000, 50_000, 7
SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
LIMITS = {"open": 50, "labels": 200}
"""Largest processor time, ms."""

HEAD = """
import csv, sys, time
from pathlib import Path
from ssl_pipeline.data.labels import read_labels
from ssl_pipeline.data.store import SPLITS, open_split
store = Path(sys.argv[1])
began = time.process_time()
"""
WORK = {
    "open": "for split in SPLITS: open_split(store, split)",
    "labels": "for split in SPLITS: read_labels(store, split)",
    "index.csv": "rows = list(csv.reader((store / 'index.csv').open(newline='', encoding='utf-8')))",
}
TAIL = "\nprint(time.process_time() - began)"


def write_store(store: Path, images: int) -> None:
    rows: list[IndexRow] = []
    for split in SPLITS:
        count = int(images * SHARES[split])
        ids = np.arange(len(rows), len(rows) + count, dtype=np.uint64)
        write_split(store / split, ids, blocks(count), SIDE)
        for row in range(count):
            label = f"class {row % CLASSES:03}"
            name = f"{len(rows):064x}"
            rows.append(IndexRow(name, f"{label}/photograph {name[-7:]}.jpg", label, split, "", 640, 480, row))
    write_index(store, rows)
    write_labels(store, rows)


def blocks(count: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(0)
    for start in range(0, count, BLOCK):
        yield generator.integers(0, 256, (min(BLOCK, count - start), SIDE, SIDE, 3), dtype=np.uint8)


def milliseconds(store: Path, work: str) -> float:
    done = subprocess.run(
        (sys.executable, "-c", HEAD + work + TAIL, str(store)), check=True, capture_output=True, text=True
    )
    return 1000 * float(done.stdout)


@click.command()
@click.argument("images", type=int, default=1_000_000)
def main(images: int) -> None:
    """Print the times for a store of IMAGES images."""
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch)
        write_store(store, images)
        times: dict[str, list[float]] = {name: [] for name in WORK}
        for _ in range(RUNS):
            for name, work in WORK.items():
                times[name].append(milliseconds(store, work))
    for name, taken in times.items():
        lower, median, upper = (round(value, 1) for value in statistics.quantiles(taken, n=4, method="inclusive"))
        row = {"what": name, "images": images, "ms": median, "quartiles": [lower, upper], "most": LIMITS.get(name)}
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
