"""Tiles against a dense matrix: time, the error of the gradient, and memory over the batch.

    python -m benchmarks.similarity

The loss is NT-Xent's denominator over two views (SimCLR): the log mass of all negatives and its gradient. Times are the
best of some repetitions of both in one process, taken in turns; memory is the peak of a process of its own for each
size, above what it held after its imports. `python -m benchmarks.similarity ROWS` prints that of any size; 131,072 rows
take some minutes.
"""

import itertools
import math
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.contrast.similarity import log_mass
from ssl_pipeline.types import Negatives

DIM, SCALE, ROWS, REPEATS = 128, 5.0, 8192, 5
SIZES = (8192, 16384, 32768)


def embeddings(rows: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    values = torch.randn(rows, DIM, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return F.normalize(values, dim=1).requires_grad_(), torch.arange(rows // 2).repeat(2)


def dense(anchors: Tensor, samples: Tensor) -> Tensor:
    logits = (anchors @ anchors.T * SCALE).masked_fill(samples[:, None] == samples[None, :], -torch.inf)
    return logits.logsumexp(dim=1).mean()


def tiled(anchors: Tensor, samples: Tensor) -> Tensor:
    return log_mass(anchors, Negatives(anchors, samples, samples), SCALE).mean()


def seconds(loss: Callable[[Tensor, Tensor], Tensor], anchors: Tensor, samples: Tensor) -> float:
    began = time.perf_counter()
    torch.autograd.grad(loss(anchors, samples), anchors)
    return time.perf_counter() - began


def peak(rows: int) -> float:
    """MiB that a forward and backward pass in tiles adds to a process."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.similarity", str(rows)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def own_peak(rows: int) -> None:
    """Print what this process needs."""
    before = high_water()
    seconds(tiled, *embeddings(rows))
    print(high_water() - before)


def high_water() -> float:
    """The most memory in MiB that this process has held (Linux); getrusage would count what its parent held too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def main() -> None:
    data = embeddings(ROWS)
    times = [(seconds(dense, *data), seconds(tiled, *data)) for _ in range(REPEATS)]
    whole, parts = (min(column) for column in zip(*times, strict=True))
    print(f"{ROWS:,} rows x {DIM}: tiles take {parts / whole:.2f} of the dense time, forward and backward")
    exact, samples = embeddings(4096, torch.float64)
    wanted = torch.autograd.grad(dense(exact, samples), exact)[0]
    single = exact.detach().float().requires_grad_()
    found = torch.autograd.grad(tiled(single, samples), single)[0]
    print(f"gradient of 4,096 float32 rows: {((found - wanted).norm() / wanted.norm()).item():.1e} from dense float64")
    peaks = {rows: peak(rows) for rows in SIZES}
    for rows, mebibytes in peaks.items():
        print(f"{rows:,} rows: peak {mebibytes:.0f} MiB above the imports")
    steps = [(peaks[more] - peaks[fewer]) / (more - fewer) for fewer, more in itertools.pairwise(SIZES)]
    slope = steps[-1] / steps[0]  # a square's would be 2: each step is from one size to its double
    print(f"memory a row, from {SIZES[-2]:,} rows on against from {SIZES[0]:,} rows on: {slope:.2f}")
    power = math.log(peaks[SIZES[-1]] / peaks[SIZES[-2]]) / math.log(SIZES[-1] / SIZES[-2])
    print(f"memory grows with the number of rows to the power of {power:.2f}")  # a square's would be 2


if __name__ == "__main__":
    own_peak(int(sys.argv[1])) if len(sys.argv) > 1 else main()
