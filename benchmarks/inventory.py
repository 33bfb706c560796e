"""What a run that changes nothing pays for looking at its source: a second inventory, beside bare looks at the files.

    python -m benchmarks.inventory [FILES]

In a scratch folder, FILES small files lie in a hundred folders. Their inventory is made twice: at first each file is
read, afterwards none is. Beside it stands `os.scandir` with one `stat` for each file, without which no change can be
seen. Times are of the processor: a disk or a neighbour that makes the process wait does not count.
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
    """Small files that were written long ago: of new ones no hash is remembered."""
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
    """Print what an inventory of FILES files takes for each, as JSON."""
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
