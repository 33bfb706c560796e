"""Images per second and memory of pretraining against lightly's SimCLR: `python -m benchmarks.against_lightly`.

Both sides are in `benchmarks.peer`. Passes of as many steps take turns in one process, timed by the clock; a pass of
lightly's begins its loader's workers, of ours a run's meters, as an epoch does.

`bound` is the ratio that would be reached if making views, reading images and all else cost nothing: lightly's pass to
our bare steps, on views that lie ready. Memory is the peak of a process for each side, workers included.

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

os.environ["LIGHTLY_DID_VERSION_CHECK"] = "True"  # nothing asks the network for a newer one


@click.command()
@click.argument("archive", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--side", default=32, show_default=True, help="Side of the views, px.")
@click.option("--batch", default=128, show_default=True, help="Number of images per step.")
@click.option("--steps", default=6, show_default=True, help="Number of steps per pass.")
@click.option("--rounds", default=3, show_default=True, help="Rounds of ABBA.")
@click.option("--threads", default=2, show_default=True, help="Threads of torch, and lightly's workers.")
@click.option("--alone", type=(click.Choice(["ours", "theirs"]), Path), hidden=True, help="A side, and what it reads.")
def main(
    archive: Path | None,
    side: int,
    batch: int,
    steps: int,
    rounds: int,
    threads: int,
    alone: tuple[str, Path] | None,
) -> None:
    """Compare both on images of ARCHIVE (a .zip of JPEG files), or on patches of two photographs."""
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
    """Print the ratio of images per second, and its bound."""
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
