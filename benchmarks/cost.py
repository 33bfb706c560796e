"""Cost of a run by size of the views, images per step and number of processes: `python -m benchmarks.cost`.

Each row takes three steps of SimCLR with a ResNet-18 in fp32, one thread per process: views, forward pass, loss,
backward pass and optimizer. Time is the processor time of the slowest rank, which excludes other work on the machine
and waiting for other ranks. `of W r` is the throughput as a share of W r, where r is the number of images per second
of one process whose batch is one rank's share. `MiB per process` is the largest growth of a rank's peak memory during
the steps. The hours are extrapolated, as docs/scale.md explains. The output is the table of that page.
"""

import time

import click
import numpy as np

from benchmarks.in_ranks import in_ranks
from benchmarks.peer import Ours
from benchmarks.tiles import high_water
from benchmarks.views import canvases
from ssl_pipeline.data.store import Split
from ssl_pipeline.randomness import hash64
from ssl_pipeline.training.together import Ranks

STEPS = 3
BATCHES = {32: 64, 96: 64, 224: 32}
"""Side of the views in px -> images per step."""
CANVAS = 8 / 7  # relative to the side of a view
IMAGES, EPOCHS = 1_281_167, 100
"""The run to which the hours are extrapolated: ImageNet-1k, and the number of epochs."""


def train(ranks: Ranks, side: int, batch: int, micro_batch: int | None) -> tuple[float, float]:
    """Take `STEPS` steps; return the processor time per step, s, and the growth of peak memory, MiB.

    Args:
        ranks: Processes that train together.
        side: Side of the views, px.
        batch: Number of images per step over all ranks.
        micro_batch: Number of images that are encoded at once; None: all of them.
    """
    canvas, count = round(side * CANVAS), batch * STEPS
    half, quarter = (0.5,) * 3, (0.25,) * 3
    images = canvases(canvas, count).numpy()
    pool = Split("train", canvas, np.sort(hash64("photograph", np.arange(count))), half, quarter, "", (images,))
    run = Ours(pool, side, batch, STEPS, "fp32", micro_batch=micro_batch)
    before, began = high_water(), time.process_time()
    run.go(ranks=ranks)
    return (time.process_time() - began) / STEPS, high_water() - before


def rows(batch: int) -> list[tuple[int, int | None, int]]:
    """Return images per step, images per micro-batch and number of processes of each row, single processes first."""
    alone: list[tuple[int, int | None, int]] = [(size, None, 1) for size in (batch // 4, batch // 2, batch)]
    return [*alone, (batch, batch // 4, 1), (batch, None, 2), (batch, batch // 2, 2), (batch, None, 4)]


@click.command()
def main() -> None:
    """Print the table."""
    from benchmarks.cost import train  # the name under which a forked process has imported it

    print(
        "| px | images per step | micro-batch | W | images/s | of W r | MiB per process | hours for 1.28 M images, "
        "100 epochs |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for side, batch in BATCHES.items():
        alone: dict[int, float] = {}
        for size, micro_batch, count in rows(batch):
            found = in_ranks(count, train, side, size, micro_batch)
            rate = size / max(seconds for seconds, _ in found)
            if count == 1 and micro_batch is None:
                alone[size] = rate
            share = f"{rate / (count * alone[size // count]):.2f}" if count > 1 else ""
            cells = [side, size, micro_batch or "", count, f"{rate:.1f}", share]
            cells += [f"{max(most for _, most in found):.0f}", f"{IMAGES * EPOCHS / rate / 3600:,.0f}"]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
