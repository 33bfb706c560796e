"""Throughput and memory of pretraining, compared with lightly's SimCLR: `python -m benchmarks.against_lightly`.

Both sides are in `benchmarks.peer`. Their passes have the same number of steps, alternate in one process, and are
measured in wall-clock time. As at the start of an epoch, each of lightly's passes starts the workers of its loader,
and each of ours the meters of a run.

`bound` is the ratio that would be reached if making views, reading images and everything else cost nothing: the time
of lightly's pass divided by that of our bare steps, whose views are ready. Memory is the peak of one process per
side, including its workers.

Each line of the output is a JSON object.
"""

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import torch

from benchmarks.interleaved import faster
from benchmarks.memory import peak
from benchmarks.peer import PHOTO_SIDE, VAL, Ours, Theirs, photographs, store_of
from ssl_pipeline.training.precision import best_device, resolve_precision

os.environ["LIGHTLY_DID_VERSION_CHECK"] = "True"  # do not ask the network for a newer version


@click.command()
@click.argument("archive", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--side", default=32, show_default=True, help="Side of the views, px.")
@click.option("--batch", default=128, show_default=True, help="Number of images per step.")
@click.option("--steps", default=6, show_default=True, help="Number of steps per pass.")
@click.option("--rounds", default=3, show_default=True, help="Number of rounds, in ABBA order.")
@click.option("--threads", default=2, show_default=True, help="Number of torch threads and of lightly's workers.")
@click.option("--alone", type=(click.Choice(["ours", "theirs"]), Path), hidden=True, help="Side, and its images.")
def main(
    archive: Path | None,
    side: int,
    batch: int,
    steps: int,
    rounds: int,
    threads: int,
    alone: tuple[str, Path] | None,
) -> None:
    """Compare both sides on the images of ARCHIVE (a .zip of JPEG files), or on patches of two photographs."""
    torch.set_num_threads(threads)
    if alone is not None:
        name, path = alone
        (Ours(path, side, batch, steps) if name == "ours" else Theirs(path, side, batch, steps, threads)).go()
        return
    of = {"side": side, "batch": batch, "threads": threads, "device": best_device().type}
    with tempfile.TemporaryDirectory() as scratch:
        images = Path(scratch) / "images"
        photographs(images, side, int(batch * steps / (1 - VAL)) + batch, archive)
        store = store_of(Path(scratch) / "project", images, side if side < PHOTO_SIDE else side + side // 8)
        words = [sys.executable, "-m", "benchmarks.against_lightly", "--steps", str(min(steps, 3))]
        words += ["--side", str(side), "--batch", str(batch), "--threads", str(threads), "--alone"]
        held = {name: peak([*words, name, str(path)]) for name, path in (("ours", store), ("theirs", images))}
        ratio = round(held["ours"] / held["theirs"], 3)
        tell(what="peak memory", **of, ratio=ratio, MiB={name: round(most) for name, most in held.items()})
        theirs = Theirs(images, side, batch, steps, threads)
        compare({**of, "precision": "fp32"}, Ours(store, side, batch, steps), theirs, rounds)
        best = resolve_precision("auto", best_device()).name
        if best == "fp32":
            tell(what="images/s", precision="auto", side=side, skipped="no hardware for bf16")
        else:
            compare({**of, "precision": "auto", "is": best}, Ours(store, side, batch, steps, "auto"), theirs, rounds)


def compare(of: dict[str, object], ours: Ours, theirs: Theirs, rounds: int) -> None:
    """Print the ratio of the images per second of both sides, and its bound."""
    steps, batch = len(theirs.loader), ours.section.batch_size
    found = faster(ours.go, theirs.go, rounds, time.perf_counter)
    best, take = found.pop("s"), ours.bare(steps)
    bare = min(seconds(take) for _ in range(3))
    rates = {name: round(steps * batch / seconds, 1) for name, seconds in best.items()}
    bound, share = round(best["theirs"] / bare, 3), round(bare / best["ours"], 3)
    tell(what="images/s", **of, **found, images_per_second=rates, bound=bound, bare_share=share)


def seconds(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def tell(**line: object) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
