"""Sums over anchors x keys in tiles, compared with a dense matrix: time, error of the gradient, memory.

    python -m benchmarks.tiles

The loss is NT-Xent's denominator over two views (SimCLR): the log mass of all negatives, with a batch as both anchors
and keys, forward and backward. The two take turns in one thread, as described in `benchmarks.interleaved`. Memory is
the peak of a separate process for each size, minus its memory after the imports. `slope` is the exponent with which
memory grows with the number of rows: 1 for linear growth, 2 for quadratic growth. Each line of the output is a JSON
object.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.interleaved import faster
from ssl_pipeline.contrast.similarity import log_mass
from ssl_pipeline.types import Negatives

DIM, SCALE = 128, 10.0  # SimCLR's projections and temperature
TARGETS = {512: 1.2, 2048: 0.6, 8192: 0.3}  # rows -> largest ratio of the times, tiled to dense
ROUNDS = {512: 60, 2048: 15, 8192: 5}
ERROR_ROWS = 4096
MEMORY_ROWS = (2048, 4096, 8192, 16384, 32768, 65536)
MAX_SLOPE = 1.05

Loss = Callable[[Tensor, Tensor], Tensor]


def embeddings(rows: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return unit vectors (rows, DIM), and the number of the sample (rows,) of each; a sample has two views."""
    values = torch.randn(rows, DIM, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return F.normalize(values, dim=1).requires_grad_(), torch.arange(rows // 2).repeat(2)


def dense(anchors: Tensor, samples: Tensor) -> Tensor:
    """Return the loss from the whole matrix at once, the reference."""
    logits = (anchors @ anchors.T * SCALE).masked_fill(samples[:, None] == samples[None, :], -torch.inf)
    return logits.logsumexp(dim=1).mean()


def tiled(anchors: Tensor, samples: Tensor) -> Tensor:
    return log_mass(anchors, Negatives(anchors, samples, samples), SCALE).mean()


def step(loss: Loss, anchors: Tensor, samples: Tensor) -> None:
    """Run a forward and a backward pass."""
    torch.autograd.grad(loss(anchors, samples), anchors)


def gradient_error(loss: Loss) -> float:
    """Return the norm of the error of a float32 gradient, relative to the norm of the float64 gradient of `dense`."""
    exact, samples = embeddings(ERROR_ROWS, torch.float64)
    wanted = torch.autograd.grad(dense(exact, samples), exact)[0]
    single = exact.detach().float().requires_grad_()
    found = torch.autograd.grad(loss(single, samples), single)[0]
    return float((found - wanted).norm() / wanted.norm())


def added_memory(rows: int) -> float:
    """Return the memory that a forward and a backward pass in tiles add to a process, MiB."""
    command = [sys.executable, "-m", "benchmarks.tiles", "--peak", str(rows)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_own_peak(rows: int) -> None:
    step(tiled, *embeddings(64))  # the first pass of a process also allocates what later ones reuse
    before = high_water()
    step(tiled, *embeddings(rows))
    print(high_water() - before)


def high_water() -> float:
    """Return the peak memory of this process, MiB (Linux); that of getrusage would include memory of its parent."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def tell(**line: object) -> None:
    print(json.dumps(line), flush=True)


@click.command()
@click.option("--peak", type=int, hidden=True, help="Print the memory that a pass over this number of rows adds.")
def main(peak: int | None) -> None:
    """Print ratios of times, the error of the gradient, and the growth of memory."""
    torch.set_num_threads(1)
    if peak is not None:
        print_own_peak(peak)
        return
    for rows, target in TARGETS.items():
        data = embeddings(rows)
        found = faster(partial(step, dense, *data), partial(step, tiled, *data), ROUNDS[rows])
        tell(
            what="time, tiled to dense",
            rows=rows,
            ratio=found["median"],
            quartiles=found["quartiles"],
            rounds=found["rounds"],
            at_most=target,
        )
    of_tiles, of_dense = gradient_error(tiled), gradient_error(dense)
    tell(what="error of the float32 gradient", rows=ERROR_ROWS, tiled=of_tiles, dense=of_dense)
    peaks = [added_memory(rows) for rows in MEMORY_ROWS]
    for rows, mebibytes in zip(MEMORY_ROWS, peaks, strict=True):
        matrix = rows**2 * 4 / 2**20
        tell(what="peak memory, MiB", rows=rows, tiled=round(mebibytes, 1), one_dense_matrix=round(matrix, 1))
    slope = np.polyfit(np.log(MEMORY_ROWS), np.log(peaks), 1)[0]
    tell(what="memory, slope over rows", rows=MEMORY_ROWS, slope=round(float(slope), 3), at_most=MAX_SLOPE)


if __name__ == "__main__":
    main()
