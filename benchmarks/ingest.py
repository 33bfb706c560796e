"""How fast ingest is, beside a bare loop of Pillow over the same files, as JSON lines.

    python -m benchmarks.ingest FOLDER_OR_ZIP [--images N] [--rounds N]

For each of some sizes, up to N of the photographs are made that large (shorter side, px; JPEG of quality 90) and lie in
memory or in a folder. Two things are measured in turns:

- `decode`: what ingest does with a file (decode, hash of all pixels, canvas, sketch for near copies) in one process;
- `stage`: all of ingest, to the finished store, with all of its processes: processor time of all of them.

Each stands beside two bare loops: `full` opens, decodes and resizes each file, which gives the same canvas; `draft` has
libjpeg decode at a half, a quarter or an eighth of the size, whichever is still as large as the canvas. `levels` says
how far its canvases are from those of `full`, in grey levels of 255: the largest difference, and the mean. A ratio is
that of the times, bare / ours.
"""

import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import psutil
from PIL import Image

from ssl_pipeline.data.decode import Canvas, decode
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline.data.listing import list_images
from ssl_pipeline_plugins.sources.folder import Folder

SIZES = {128: 64, 500: 224, 2000: 224}
"""Shorter side of the photographs -> side of the canvas, px."""
SHARE = {128: 1, 500: 8, 2000: 128}
"""One in so many of the photographs is taken: a round takes about as long at each size."""
SHARES = Shares(seed=0, val_fraction=0.15, test_fraction=0.25, max_reject_fraction=0.0)


def enlarged(content: bytes, side: int) -> bytes:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    factor = side / min(image.size)
    file = io.BytesIO()
    shape = round(image.width * factor), round(image.height * factor)
    image.resize(shape, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def bare(content: bytes, size: int, draft: bool) -> Image.Image:
    image: Image.Image = Image.open(io.BytesIO(content))
    if draft:
        image.draft("RGB", (size, size))
    return image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)


def processor_seconds() -> float:
    """Return the processor time of this process and of all that it has started, ended ones too."""
    total = time.process_time()
    for child in psutil.Process().children(recursive=True):
        spent = child.cpu_times()
        total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def ratio(ours: Callable[[], object], theirs: Callable[[], object], rounds: int) -> dict[str, Any]:
    """Compare two things in rounds of ABBA, as `benchmarks.interleaved.faster` does, with the time of all processes."""

    def seconds(run: Callable[[], object]) -> float:
        began = processor_seconds()
        run()
        return processor_seconds() - began

    ours()
    ratios, best = [], float("inf")
    for _ in range(rounds):
        a, b, c, d = seconds(ours), seconds(theirs), seconds(theirs), seconds(ours)
        ratios.append((b + c) / (a + d))
        best = min(best, a, d)
    lower, median, upper = statistics.quantiles(ratios, n=4)
    return {"median": round(median, 3), "quartiles": [round(lower, 3), round(upper, 3)], "s": round(best, 3)}


def stage(folder: Path, canvas: Canvas, contents: Sequence[bytes]) -> Callable[[], object]:
    """Write files, and return a run of ingest on them."""
    images = folder / "images"
    images.mkdir()
    for number, content in enumerate(contents):
        (images / f"{number:05}.jpg").write_bytes(content)

    def run() -> None:
        with tempfile.TemporaryDirectory(dir=folder) as out:
            ingest(Folder(path=str(images)).open(), Path(out), canvas, SHARES, folder)

    return run


@click.command(help=__doc__)
@click.argument("pile", type=click.Path(path_type=Path, exists=True))
@click.option("--images", default=1500, show_default=True, help="Photographs of the smallest size.")
@click.option("--rounds", default=5, show_default=True, help="Rounds of each comparison.")
def main(pile: Path, images: int, rounds: int) -> None:
    from benchmarks.interleaved import machine  # not at the top: decoding processes import this module, and no torch

    print(json.dumps(machine()), flush=True)
    listing = list_images(pile)
    names = listing.names[:: max(1, len(listing.names) // images)][:images]
    for side, size in SIZES.items():
        contents = [enlarged(bytes(listing.read(name, 2**28)), side) for name in names[:: SHARE[side]]]
        canvas = Canvas(size, "squash", (255, 255, 255), min_side=8, max_megapixels=100)
        gaps = [
            np.abs(np.subtract(bare(content, size, True), bare(content, size, False), dtype=np.int16))
            for content in contents[:20]
        ]
        levels = {"largest": int(max(gap.max() for gap in gaps)), "mean": round(float(np.mean(gaps)), 2)}
        row: dict[str, Any] = {"side": side, "canvas": size, "images": len(contents), "levels": levels}
        loops = {
            name: lambda draft=draft: [bare(content, size, draft) for content in contents]  # noqa: B023
            for name, draft in (("full", False), ("draft", True))
        }
        with tempfile.TemporaryDirectory() as scratch:
            runs = {
                "decode": lambda: [decode(content, canvas) for content in contents],  # noqa: B023
                "stage": stage(Path(scratch), canvas, contents),
            }
            for what, run in runs.items():
                for loop, theirs in loops.items():
                    row[f"{what} against {loop}"] = ratio(run, theirs, rounds)
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
