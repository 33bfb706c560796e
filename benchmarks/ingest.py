"""Speed of ingest relative to a bare loop of Pillow over the same files, as JSON lines.

    python -m benchmarks.ingest FOLDER_OR_ZIP [--images N] [--rounds N]

For each of several sizes (shorter side, px), up to N photographs are resized and encoded as JPEG with quality 90, in
memory and in a folder. Three quantities are measured in turns, in processor time of all processes:

- `decode`: the work of ingest on one file (decoding, hash of all pixels, canvas, sketch for near copies), in one
  process;
- `stage`: all of ingest, up to the finished store, with all of its processes;
- `further`: the time that ingest needs for the last three quarters of the files in addition to the first quarter,
  scaled to all files. The rest of the time does not depend on the number of files, and is reported as `fixed`, s: for
  example the start of the processes, and the second decoding of the 64 images that ingest keeps at their own shapes.

Each is compared with two bare loops: `full` opens, decodes and resizes each file, which gives the same canvas; `draft`
lets libjpeg decode at a half, a quarter or an eighth of the size, whichever is the smallest that is still as large as
the canvas. A ratio is the bare time divided by ours, for the same number of files.

`levels` reports how much canvases made by `draft` differ from those made by `full`, in grey levels (0 to 255): the
largest and the mean difference, for libjpeg decoding at least 1, 2 or 4 times the side of the canvas.
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
"""Shorter side of the photographs, px -> n, where one in n photographs is used."""
SHARES = Shares(seed=0, val_fraction=0.15, test_fraction=0.25, max_reject_fraction=0.0)


def enlarged(content: bytes, side: int) -> bytes:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    factor = side / min(image.size)
    file = io.BytesIO()
    shape = round(image.width * factor), round(image.height * factor)
    image.resize(shape, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


def bare(content: bytes, size: int, times: int | None) -> Image.Image:
    """Return the canvas of a JPEG file.

    Args:
        content: Content of the file.
        size: Side of the canvas, px.
        times: Multiple of `size` that libjpeg decodes at least; None: the full size.
    """
    image: Image.Image = Image.open(io.BytesIO(content))
    if times:
        image.draft("RGB", (times * size, times * size))
    return image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)


def levels(contents: Sequence[bytes], size: int) -> dict[str, dict[str, float]]:
    """Return how much canvases made by draft differ from those of fully decoded files, in grey levels (0 to 255)."""
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
    """Return the processor time of this process and of all its descendants, including those that have ended, s."""
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
    """Call all functions in rounds, forwards and backwards as `benchmarks.interleaved.faster` does, and compare them.

    Args:
        runs: Name -> function; `stage of the first` processes only the first files, and all others process all files.
        files: Number of all files.
        first: Number of the first files.
        rounds: Number of rounds, at least 2.
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
    """Write files, and return a function that runs ingest on them."""
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
@click.option("--images", default=1200, show_default=True, help="Number of photographs of the smallest size.")
@click.option("--rounds", default=5, show_default=True, help="Number of rounds, at least 2.")
def main(pile: Path, images: int, rounds: int) -> None:
    from benchmarks.interleaved import machine  # not at the top: decoding processes import this module, but not torch

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
