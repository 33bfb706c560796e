"""Batches in micro-batches, compared with one pass: `python -m benchmarks.virtual_batches`, in a copy of the project.

A step of the project's recipe on digits consists of views, forward, loss, backward and the update by the optimizer.
`time` compares a batch in micro-batches with one pass: once with all micro-batches encoded twice, as if no memory were
free, and once with as many kept as fit. Memory is the peak of a separate process for each number of micro-batches,
minus its memory after the imports; `slope` is the exponent with which it grows with their number. On the CPU, glibc's
heap becomes fragmented as micro-batches are allocated and freed. Memory is therefore measured once as it is, and once
with a threshold above which blocks are returned to the system (MALLOC_MMAP_THRESHOLD_), which shows what tensors need.
The output is JSON.
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
"""Numbers of micro-batches for which memory is compared."""


def stepping(project: Project, images: int, size: int, free: int | None) -> Callable[[], None]:
    """Return a function that takes a step over a batch in micro-batches.

    Args:
        project: Project to train; its images are repeated if it has fewer than a step needs.
        images: Number of images per step.
        size: Number of images per micro-batch.
        free: Bytes of memory that are assumed to be free; None: the free memory of the machine.
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
    """Return the memory that steps of `count` micro-batches add to a process if none is kept, MiB."""
    command = [sys.executable, "-m", "benchmarks.virtual_batches", "--size", str(size), "--peak", str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **variables})
    return float(done.stdout)


@click.command()
@click.option("--size", default=64, show_default=True, help="Number of images per micro-batch.")
@click.option("--count", default=8, show_default=True, help="Number of micro-batches per batch when time is measured.")
@click.option("--rounds", default=7, show_default=True, help="Number of rounds, with two steps of each kind.")
@click.option("--backbone", help="Backbone, such as torchvision/resnet18; that of params.yaml by default.")
@click.option("--peak", "own", default=0, hidden=True)
def main(size: int, count: int, rounds: int, backbone: str | None, own: int) -> None:
    """Print ratios of times, and the slope of memory."""
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
