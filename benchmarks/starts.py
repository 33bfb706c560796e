"""Compare ways to start: from scratch, or from downloaded weights, frozen, continued, distilled or fine-tuned.

`python -m benchmarks.starts pack --data DATA --out FOLDER` collects the images of three sets in small files. DATA
contains the folders clothing, tracks and cifar10 with their archives. `python -m benchmarks.lite0 FOLDER` adds the
downloaded weights. Then

    python -m benchmarks.starts run --data FOLDER --out LINES --minutes 6 --workers 8

runs the cells (a set, an arm and a seed) in concurrent processes, on one GPU or on the CPU, starting with the first
seed of all sets and arms, and appends a line for each cell to LINES. It stops after the given number of minutes; if it
is started again, it continues with the remaining cells. `python -m benchmarks.starts cost --out LINES` measures the
exported file of each network, and `python -m benchmarks.starts_page LINES` prints the tables.
"""

import itertools
import multiprocessing
import os
import queue
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from benchmarks.cells import append, read

if TYPE_CHECKING:
    from ssl_pipeline.data.labelled import LabelledSplits

NAMES = ("clothing", "tracks", "cifar10")
ARMS = ("start", "continued", "distilled", "scratch", "supervised", "finetuned")
SWEPT = ("start_stages", "continued_slow", "continued_fast", "continued_settled", "distilled_linear", "distilled_blank")
"""Other ways to continue and to distil, each with one seed."""
ONCE = ("start", *SWEPT)
"""Arms with one seed; the start does not depend on the seed."""


class Cell(NamedTuple):
    """One run: a set of images, an arm and a seed."""

    data: str
    arm: str
    seed: int


class Settings(NamedTuple):
    """Settings of all cells: the largest number of images per split, and the number of epochs."""

    images: int
    epochs: int


class Order(NamedTuple):
    """Instructions for a worker process.

    Attributes:
        folder: Folder of images and weights.
        out: File that receives lines of JSON.
        end: Time after which no cell is begun, s since the epoch.
        threads: Number of threads.
    """

    folder: Path
    out: Path
    end: float
    threads: int


def undone(out: Path, settings: Settings, arms: tuple[str, ...], names: tuple[str, ...], seeds: int) -> list[Cell]:
    """Return the cells that have no line with these settings yet, starting with the first seed of all sets and arms."""
    wanted = [Cell(name, arm, seed) for seed, arm, name in itertools.product(range(seeds), arms, names)]
    known = {
        Cell(line["data"], line["arm"], line["seed"])
        for line in read(out)
        if settings._asdict().items() <= line.items()
    }
    return [cell for cell in wanted if cell not in known and (cell.arm not in ONCE or cell.seed == 0)]


def work(cells: "multiprocessing.Queue[Cell]", settings: Settings, order: Order) -> None:
    """Run cells until none is left or the time is over."""
    import torch

    from benchmarks import starts_images, starts_judged

    torch.set_num_threads(order.threads)
    sets: dict[str, LabelledSplits] = {}
    while time.time() < order.end:
        try:
            cell = cells.get(timeout=0.5)
        except queue.Empty:
            return
        try:
            if cell.data not in sets:
                sets[cell.data] = starts_images.read(cell.data, order.folder, settings.images)
            found = starts_judged.judged(cell.data, cell.arm, sets[cell.data], order.folder, settings.epochs, cell.seed)
        except Exception:  # one cell has failed and remains undone; the others are still useful
            sys.stderr.write(f"{cell}: {traceback.format_exc()}")
            continue
        append(order.out, {**cell._asdict(), **settings._asdict(), **found})
        said = f"{cell.data}, {cell.arm}, seed {cell.seed}: {found['seconds']} s, {found['accuracy']}"
        print(said, file=sys.stderr, flush=True)


def in_processes(cells: list[Cell], settings: Settings, order: Order, workers: int) -> None:
    """Distribute cells over processes; kill those that are still running when the time is over."""
    context = multiprocessing.get_context("spawn")
    waiting: multiprocessing.Queue[Cell] = context.Queue()
    for cell in cells:
        waiting.put(cell)
    processes = [context.Process(target=work, args=(waiting, settings, order)) for _ in range(min(workers, len(cells)))]
    for process in processes:
        process.start()
    for process in processes:
        process.join(max(0.0, order.end - time.time()))
    for process in processes:
        if process.is_alive():
            process.kill()  # a line is appended completely, or not at all
        process.join()


@click.group()
def main() -> None:
    """Compare ways to start."""


@main.command()
@click.option("--data", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of the archives.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder that receives the sets.")
def pack(data: Path, out: Path) -> None:
    """Collect the images of the three sets in small files."""
    from benchmarks import starts_images

    for name in NAMES:
        click.echo(f"{name}: {starts_images.pack(name, data, out)}")


@main.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File that receives lines of JSON.")
def cost(out: Path) -> None:
    """Measure the exported file of each network."""
    from benchmarks import starts_cost

    for line in starts_cost.measured():
        append(out, line)
        click.echo(f"{line}")


@main.command()
@click.option(
    "--data",
    "folder",
    type=click.Path(exists=True, path_type=Path),
    required=True,
    help="Folder written by `pack` and `lite0`.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File that receives lines of JSON.")
@click.option("--seeds", type=int, default=3, show_default=True, help="Number of seeds.")
@click.option("--images", type=int, default=2000, show_default=True, help="Largest number of images per split.")
@click.option("--epochs", type=int, default=15, show_default=True, help="Number of epochs.")
@click.option("--minutes", type=float, default=6.0, show_default=True, help="Minutes after which the run stops.")
@click.option("--workers", type=int, default=8, show_default=True, help="Number of concurrent processes.")
@click.option("--arm", "arms", multiple=True, type=click.Choice((*ARMS, *SWEPT)), help="Arm; all arms by default.")
@click.option("--set", "names", multiple=True, type=click.Choice(NAMES), help="Set; all sets by default.")
def run(
    folder: Path,
    out: Path,
    seeds: int,
    images: int,
    epochs: int,
    minutes: float,
    workers: int,
    arms: tuple[str, ...],
    names: tuple[str, ...],
) -> None:
    """Run the cells that are not done yet."""
    settings, threads = Settings(images, epochs), max(1, (os.cpu_count() or 1) // workers)
    cells = undone(out, settings, arms or (*ARMS, *SWEPT), names or NAMES, seeds)
    os.environ |= {name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    order = Order(folder, out, time.time() + 60 * minutes, threads)
    in_processes(cells, settings, order, workers)
    left = undone(out, settings, arms or (*ARMS, *SWEPT), names or NAMES, seeds)
    click.echo(f"{len(cells) - len(left)} cells done, {len(left)} left", err=True)


if __name__ == "__main__":
    main()
