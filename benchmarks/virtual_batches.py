"""Batches in micro-batches against one pass: `python -m benchmarks.virtual_batches`, in a copy of the project.

A step is views, forward, loss, backward and the optimizer's, of the project's recipe, on digits. `time` is
that of a batch in micro-batches to that of one pass, once with all of them encoded twice, as where no memory is free,
and once with as many kept as fit. Memory is the peak of a process of its own for each number of
micro-batches, above what it held after its imports; `slope` is the power of their number with which it grows. On the
CPU, glibc's heap is left with gaps as micro-batches come and go; memory is measured once as it is, and once with a
threshold from which blocks are given back to the system (MALLOC_MMAP_THRESHOLD_), which is what tensors need. The
output is JSON.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import torch

from benchmarks.epoch import Project
from benchmarks.interleaved import faster, machine
from benchmarks.project import change, copy_project
from benchmarks.stage import stage
from benchmarks.tiles import high_water
from ssl_pipeline.training import micro_batches
from ssl_pipeline.training.batch_encoder import BatchEncoder
from ssl_pipeline.training.batches import Place
from ssl_pipeline.training.memory_format import memory_format
from ssl_pipeline.training.step_memory import free_memory
from ssl_pipeline.training.view_sizes import ViewSizes
from ssl_pipeline.types import Step

MOST_TIME, MOST_SLOPE = 1.35, 0.1
COUNTS = (4, 8, 16, 32)
"""Numbers of micro-batches whose memory is compared."""


def stepping(project: Project, images: int, size: int, free: int | None) -> Callable[[], None]:
    """Return a function that takes a step over a number of images, in micro-batches of a size.

    Args:
        project: The project; its images are taken again and again where they are fewer.
        images: Number of images per step.
        size: Number of images per micro-batch.
        free: Bytes that are taken for free; None: what there is.
    """
    task, device = project.task(), project.precision.device
    task.to(device, memory_format=memory_format(task, device)).train()
    section, optimizer = project.section, project.optimizer(task)
    sizes = ViewSizes.of(task, project.policies, section, 1)
    with patch.object(micro_batches, "free_memory", (lambda device: free) if free is not None else free_memory):
        encoder = BatchEncoder(task, project.pool, sizes, section.seed, project.precision, size)
    place = Place(0, 0, np.arange(images) % len(project.pool))

    def take() -> None:
        batch = encoder.make(place)
        step = Step(0, 1, 0, section.seed, batch.ids)
        loss, _, kept = task.compare(encoder.encode(place, batch, step), step)
        optimizer.zero_grad()
        with encoder.backward(place):
            loss.backward()
        optimizer.step()
        task.after_step(step, kept)

    return take


def peak(count: int, size: int, variables: Mapping[str, str]) -> float:
    """MiB that steps of a number of micro-batches add to a process, none of them kept."""
    command = [sys.executable, "-m", "benchmarks.virtual_batches", "--size", str(size), "--peak", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **variables})
    return float(done.stdout)


@click.command()
@click.option("--size", default=64, show_default=True, help="Images per micro-batch.")
@click.option("--count", default=8, show_default=True, help="Micro-batches per batch whose time is measured.")
@click.option("--rounds", default=7, show_default=True, help="Rounds of two steps of each.")
@click.option("--backbone", help="The backbone, such as torchvision/resnet18; the project's own by default.")
@click.option("--peak", "own", default=0, hidden=True)
def main(size: int, count: int, rounds: int, backbone: str | None, own: int) -> None:
    """Print ratios of time and the slope of memory."""
    torch.set_num_threads(1)
    if own:
        project, before = Project(), high_water()
        for take in [stepping(project, own * size, size, free=0)] * 2:
            take()
        print(high_water() - before)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "project"
        copy_project(folder)
        if backbone is not None:
            change(folder, pretrain={"backbone": {"name": backbone, "stem": "small"}})
        for name in ("ingest", "augment"):
            stage(folder, name)
        with contextlib.chdir(folder):
            _measure(Project(), size, count, rounds)


def _measure(project: Project, size: int, count: int, rounds: int) -> None:
    about = {"recipe": project.section.recipe, "backbone": project.section.backbone.name, "micro_batch": size}
    print(json.dumps(machine() | {"threads": 1, "date": time.strftime("%Y-%m-%d")}))
    whole = stepping(project, count * size, count * size, None)
    for what, free in (("encoded twice", 0), ("kept where they fit", None)):
        found = faster(whole, stepping(project, count * size, size, free), rounds)
        said = {"what": f"time, micro-batches {what}, to one pass", "batch": count * size, "at_most": MOST_TIME}
        print(json.dumps(about | said | found), flush=True)
    for heap, variables in (("with gaps", {}), ("without gaps", {"MALLOC_MMAP_THRESHOLD_": "131072"})):
        peaks = [peak(each, size, variables) for each in COUNTS]
        slope = float(np.polyfit(np.log(COUNTS), np.log(peaks), 1)[0])
        said = {"what": f"memory, slope over micro-batches, heap {heap}", "counts": COUNTS, "at_most": MOST_SLOPE}
        print(json.dumps(about | said | {"MiB": [round(each, 1) for each in peaks], "slope": round(slope, 3)}))


if __name__ == "__main__":
    main()
