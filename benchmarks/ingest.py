"""How fast ingest is, beside a bare loop of Pillow over the same files, as JSON lines.

    python -m benchmarks.ingest FOLDER_OR_ZIP [--images N] [--rounds N]

For each of some sizes, up to N of the photographs are made that large (shorter side, px; JPEG of quality 90) and lie in
memory or in a folder. Three things are measured in turns, in processor time of all processes:

- `decode`: what ingest does with a file (decode, hash of all pixels, canvas, sketch for near copies) in one process;
- `stage`: all of ingest, to the finished store, with all of its processes;
- `further`: what ingest takes for three quarters of the files beyond what it takes for the first quarter. What it takes
  for any pile, such as the start of its processes and the second decoding of the 64 pictures that it keeps at their own
  shapes, is `fixed`, s.

Each stands beside two bare loops: `full` opens, decodes and resizes each file, which gives the same canvas; `draft` has
libjpeg decode at a half, a quarter or an eighth of the size, whichever is still as large as the canvas. A ratio is that
of the times for as many files, bare / ours.

`levels` says how far canvases by `draft` are from those of `full`, in grey levels of 255: the largest difference and
the mean, where libjpeg decodes at least 1, 2, or 4 times the side of the canvas.
"""

import io
import json
import statistics
import tempfile
import time
from collections import defaultdict
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
SHARE = {128: 1, 500: 4, 2000: 24}
"""One in so many of the photographs is taken."""
SHARES = Shares(seed=0, val_fraction=0.15, test_fraction=0.25, max_reject_fraction=0.0)


def enlarged(content: bytes, side: int) -> bytes:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    factor = side / min(image.size)
    file = io.BytesIO()
    shape = round(image.width * factor), round(image.height * factor)
    image.resize(shape, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def bare(content: bytes, size: int, times: int | None) -> Image.Image:
    """Return a canvas of a file that libjpeg decodes at so many times its side, or larger; None: at full size."""
    image: Image.Image = Image.open(io.BytesIO(content))
    if times:
        image.draft("RGB", (times * size, times * size))
    return image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)


def levels(contents: Sequence[bytes], size: int) -> dict[str, dict[str, float]]:
    """Say how far canvases by draft are from those of all pixels."""
    found = {}
    for times in (1, 2, 4):
        gaps = [
            np.abs(np.subtract(bare(content, size, times), bare(content, size, None), dtype=np.int16))
            for content in contents
        ]
        found[str(times)] = {
            "largest": int(max(gap.max() for gap in gaps)),
            "mean": round(float(np.mean([gap.mean() for gap in gaps])), 3),
        }
    return found


def processor_seconds() -> float:
    """Return the processor time of this process and of all that it has started, ended ones too."""
    total = time.process_time()
    for child in psutil.Process().children(recursive=True):
        spent = child.cpu_times()
        total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def seconds(run: Callable[[], object]) -> float:
    began = processor_seconds()
    run()
    return processor_seconds() - began


def measure(runs: dict[str, Callable[[], object]], files: int, first: int, rounds: int) -> dict[str, Any]:
    """Run all things in rounds, there and back again as `benchmarks.interleaved.faster` does, and compare them.

    Args:
        runs: The runs by their names; `stage of the first` works on the first of the files, all others on all.
        files: The number of all files.
        first: The number of the first files.
        rounds: The number of rounds, at least 2.
    """
    for run in runs.values():
        run()
    ratios: dict[str, list[float]] = defaultdict(list)
    fixed = []
    for _ in range(rounds):
        spent = dict.fromkeys(runs, 0.0)
        for name in (*runs, *reversed(runs)):
            spent[name] += seconds(runs[name]) / 2
        further = (spent["stage"] - spent["stage of the first"]) / (files - first) * files
        fixed.append(spent["stage"] - further)
        for what, ours in {"decode": spent["decode"], "stage": spent["stage"], "further": further}.items():
            for loop in ("full", "draft"):
                ratios[f"{what} against {loop}"].append(spent[loop] / ours)
    found: dict[str, Any] = {}
    for name, values in ratios.items():
        lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
        found[name] = {"median": round(median, 3), "quartiles": [round(lower, 3), round(upper, 3)]}
    return found | {"fixed": round(statistics.median(fixed), 3)}


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
@click.option("--images", default=1200, show_default=True, help="Photographs of the smallest size.")
@click.option("--rounds", default=5, show_default=True, help="Rounds of each comparison.")
def main(pile: Path, images: int, rounds: int) -> None:
    from benchmarks.interleaved import machine  # not at the top: decoding processes import this module, and no torch

    print(json.dumps(machine()), flush=True)
    listing = list_images(pile)
    names = listing.names[:: max(1, len(listing.names) // images)][:images]
    for side, size in SIZES.items():
        read: Callable[[str, int], Any] = listing.read
        contents = [enlarged(bytes(read(name, 2**28)), side) for name in names[:: SHARE[side]]]
        canvas = Canvas(size, "squash", (255, 255, 255), min_side=8, max_megapixels=100)
        first = max(1, len(contents) // 4)
        loops = {
            name: lambda times=times: [bare(content, size, times) for content in contents]  # noqa: B023
            for name, times in (("full", None), ("draft", 1))
        }
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as another:
            runs: dict[str, Callable[[], object]] = {
                "decode": lambda: [decode(content, canvas) for content in contents],  # noqa: B023
                **loops,
                "stage of the first": stage(Path(another), canvas, contents[:first]),
                "stage": stage(Path(one), canvas, contents),
            }
            found = measure(runs, len(contents), first, rounds)
        row = {"side": side, "canvas": size, "images": len(contents), "levels": levels(contents[:20], size)}
        print(json.dumps(row | found), flush=True)


if __name__ == "__main__":
    main()
