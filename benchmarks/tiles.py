"""Sums over anchors x keys in tiles against a dense matrix: time, the error of the gradient, memory.

    python -m benchmarks.tiles

The loss is NT-Xent's denominator over two views (SimCLR): the log mass of all negatives of a batch that is held against
itself, forward and backward. Each line of the output is a JSON object. The two take turns in one thread, as
`benchmarks.interleaved` says. Memory is the peak of a process of its own for each size, above what it held after its
imports; `slope` is the power of the number of rows with which it grows: 1 for a row's worth each, 2 for a square.
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
    """Return unit vectors (rows, DIM), and the samples (rows,) of which they are two views each."""
    values = torch.randn(rows, DIM, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return F.normalize(values, dim=1).requires_grad_(), torch.arange(rows // 2).repeat(2)


def dense(anchors: Tensor, samples: Tensor) -> Tensor:
    """The reference: the whole matrix at once."""
    logits = (anchors @ anchors.T * SCALE).masked_fill(samples[:, None] == samples[None, :], -torch.inf)
    return logits.logsumexp(dim=1).mean()


def tiled(anchors: Tensor, samples: Tensor) -> Tensor:
    return log_mass(anchors, Negatives(anchors, samples, samples), SCALE).mean()


def step(loss: Loss, anchors: Tensor, samples: Tensor) -> None:
    """Do a forward and a backward pass."""
    torch.autograd.grad(loss(anchors, samples), anchors)


def gradient_error(loss: Loss) -> float:
    """Return how far a float32 gradient is from that of the dense loss in float64, relative to its norm."""
    exact, samples = embeddings(ERROR_ROWS, torch.float64)
    wanted = torch.autograd.grad(dense(exact, samples), exact)[0]
    single = exact.detach().float().requires_grad_()
    found = torch.autograd.grad(loss(single, samples), single)[0]
    return float((found - wanted).norm() / wanted.norm())


def added_memory(rows: int) -> float:
    """MiB that a forward and a backward pass in tiles add to a process."""
    command = [sys.executable, "-m", "benchmarks.tiles", "--peak", str(rows)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def print_own_peak(rows: int) -> None:
    step(tiled, *embeddings(64))  # what the first pass of a process sets up
    before = high_water()
    step(tiled, *embeddings(rows))
    print(high_water() - before)


def high_water() -> float:
    """The most memory in MiB that this process has held (Linux); getrusage would count what its parent held too."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def tell(**line: object) -> None:
    print(json.dumps(line), flush=True)


@click.command()
@click.option("--peak", type=int, hidden=True, help="Print the memory that a pass over so many rows adds.")
def main(peak: int | None) -> None:
    """Print ratios of times, the error of the gradient, and how memory grows."""
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
