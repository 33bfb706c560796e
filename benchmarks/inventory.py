"""Cost of checking an unchanged source for changes: a second inventory, relative to a bare scan of the files.

    python -m benchmarks.inventory [FILES]

FILES small files are written to a hundred folders. The first inventory reads each file, and later ones read none. They
are compared with `os.scandir` and one `stat` per file, the least that is needed to notice a change. Times are processor
times, so waiting for the disk or for other programs does not count.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from ssl_pipeline.data.inventory import refresh
from ssl_pipeline_plugins.sources.folder import Folder


def write(root: Path, files: int) -> None:
    """Write small files with old modification times, because the inventory does not remember hashes of new files."""
    for number in range(files):
        folder = root / f"class {number % 100:02}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"photograph {number:06}.jpg"
        path.write_bytes(number.to_bytes(4, "big") * 16)
        os.utime(path, (1e9, 1e9))


def look(root: str) -> int:
    total = 0
    for entry in os.scandir(root):
        total += look(entry.path) if entry.is_dir() else entry.stat().st_size
    return total


def seconds(action: Callable[..., object], *arguments: object) -> float:
    began = time.process_time()
    action(*arguments)
    return time.process_time() - began


@click.command()
@click.argument("files", type=int, default=100_000)
def main(files: int) -> None:
    """Print the processor time per file of an inventory of FILES files, as JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch, "images")
        write(root, files)
        choice = {"name": "folder", "path": str(root)}
        arguments = (Folder(path=str(root)), choice, Path(scratch, "inventory.json"), Path(scratch, "hashes.sqlite"))
        bare = min(seconds(look, str(root)) for _ in range(3))
        first = seconds(refresh, *arguments)
        again = min(seconds(refresh, *arguments) for _ in range(3))
    for name, taken in (("scandir and stat", bare), ("first inventory", first), ("unchanged", again)):
        line = {"what": name, "files": files, "s": round(taken, 3), "microseconds": round(taken / files * 1e6, 2)}
        print(json.dumps(line | {"ratio": round(taken / bare, 2)}), flush=True)


if __name__ == "__main__":
    main()
