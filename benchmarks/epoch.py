"""A whole run of pretraining compared with bare steps: `python -m benchmarks.epoch [--side 32 --side 96 --side 224]`.

Without a side, the run is that of the project in this folder, which must have run augment; with sides, it is SimCLR
with a ResNet-18 on patches of photographs.

A bare step is forward pass, loss, backward pass and optimizer on views that are ready. The whole run also reads images,
makes views, measures the spread of the embeddings ("looks"), and writes checkpoints and curves. In each round, half of
the bare steps come before the whole run and half after it, so that a busy machine slows down both. Times are processor
times with one thread, otherwise wall-clock times. The output is JSON; `shares` says how the run spends its time.

On photographs, a few steps represent a long run, which looks at the embeddings once in 5,120 images and writes a
checkpoint once per minute. Looks and checkpoints are therefore measured separately and added by their shares. The rows
of the curves, of which a run has 50, are left out. Memory is the median over three processes each of a
run with a look and a checkpoint, and of bare steps.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import torch

from benchmarks.interleaved import faster, machine
from benchmarks.memory import peak
from benchmarks.peer import Ours
from benchmarks.views import canvases
from ssl_pipeline import config
from ssl_pipeline.data.store import Split, open_split
from ssl_pipeline.loading import load_registry
from ssl_pipeline.operations import load_policies
from ssl_pipeline.randomness import hash64
from ssl_pipeline.recipes import method_of
from ssl_pipeline.training import batch_encoder, optimization, preparation, pretraining
from ssl_pipeline.training.batch_inputs import inputs
from ssl_pipeline.training.batches import on_device
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.curves import CurveFiles
from ssl_pipeline.training.embedding_watch import WATCHED_IMAGES, EmbeddingWatch
from ssl_pipeline.training.memory_format import memory_format
from ssl_pipeline.training.precision import best_device, resolve_precision
from ssl_pipeline.training.run import Run
from ssl_pipeline.types import PretextTask, Step

READY_BATCHES = 4
STEPS_FOR_MEMORY = 4
BATCHES = {32: 64, 96: 32, 224: 16}
"""Side of the views in px -> images per step."""
CANVAS = 8 / 7  # relative to the side of a view: 256 px for views of 224 px
BARE_SHARE = 4  # a round takes one bare step for this many steps of the run
PARTS = {
    "views": (batch_encoder, "inputs"),
    "looks": (EmbeddingWatch, "measure"),
    "checkpoints": (Run, "save"),
    "curves": (CurveFiles, "add"),
}


def clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Timed:
    """A function that adds up the durations of its calls, s."""

    def __init__(self, owner: object, name: str):
        self.seconds, self._of = 0.0, getattr(owner, name)

    def __call__(self, *args: object) -> object:
        began = clock()
        try:
            return self._of(*args)
        finally:
            self.seconds += clock() - began


class Project:
    """The parts of a run of the project in this folder."""

    def __init__(self) -> None:
        self.registry = load_registry()
        self.method = method_of(self.registry, config.load(Path("params.yaml")).pretrain)
        self.section = self.method.pretrain
        self.policies = load_policies(self.registry, Path("data/augmented/policy.json")).views
        self.pool = open_split(Path("data/ingested/store"), "train")
        self.precision = resolve_precision(self.section.precision, best_device())
        self.optimizer = partial(optimization.build_optimizer, self.registry, self.section.optimizer)
        self.plan = pretraining.Plan.of(len(self.pool), self.section)

    def task(self) -> PretextTask:
        return preparation.build(self.registry, self.method.recipe, self.section, self.pool, self.policies)

    def whole(self) -> tuple[float, dict[str, float]]:
        """Run pretraining; return its duration and those of its parts, s."""
        task = self.task()
        with tempfile.TemporaryDirectory() as scratch:
            checkpoints = Checkpoints(Path(scratch) / "work", "f" * 64, {})
            timed = {part: Timed(*place) for part, place in PARTS.items()}
            replaced = [
                patch.object(*place, lambda *args, run=timed[part]: run(*args)) for part, place in PARTS.items()
            ]
            for each in replaced:
                each.start()
            began = clock()
            pretraining.train(
                task, self.pool, self.policies, self.section, self.optimizer, self.precision, checkpoints,
                Path(scratch) / "curves",
            )  # fmt: skip
            took = clock() - began
            patch.stopall()
        return took, {part: run.seconds for part, run in timed.items()}

    def bare(self) -> Callable[[int], float]:
        """Return a function that takes a number of bare steps and returns their duration, s."""
        task, device = self.task(), self.precision.device
        task.to(device, memory_format=memory_format(task, device)).train()
        optimizer = self.optimizer(task)
        ready = []
        seed = self.section.seed
        for number, epoch, positions in islice(self.plan.batches(seed, self.pool.ids, 0), READY_BATCHES):
            images, ids = on_device(self.pool.images(positions), device), self.pool.ids[positions]
            views = inputs(task, self.policies, images, ids, seed, epoch, self.pool.spec)
            of_images = on_device(ids.view(np.int64), device)
            ready.append((views, Step(number, self.plan.total, epoch, seed, of_images, measured=False)))

        def take(steps: int) -> float:
            began = clock()
            for number in range(steps):
                views, step = ready[number % len(ready)]
                with self.precision.autocast():
                    encoded = task(views)
                loss, _, kept = task.compare(batch_encoder.in_float32(encoded), step)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                task.after_step(step, kept)
            return clock() - began

        return take


def on_photographs(side: int, precision: str, steps: int) -> Ours:
    """Return a run of a ResNet-18 on photographs, without looks and checkpoints."""
    canvas, count = round(side * CANVAS), BATCHES[side] * steps
    images = canvases(canvas, count).numpy()
    mean, std = (tuple(found(images / 255.0, axis=(0, 1, 2)).tolist()) for found in (np.mean, np.std))
    pool = Split("train", canvas, np.sort(hash64("photograph", np.arange(count))), mean, std, "", (images,))
    return Ours(pool, side, BATCHES[side], steps, precision)


def photographs(side: int, precision: str, rounds: int, steps: int) -> dict[str, Any]:
    """Return the ratios of time and memory of a run of a ResNet-18 to those of its bare steps."""
    run = on_photographs(side, precision, steps)
    # in a long run, a row of the curves takes 100 steps or more
    with patch.object(pretraining.Plan, "logs", autospec=True, return_value=False):
        found = faster(run.bare(steps), run.go, rounds)
    bare = found["s"]["ours"] / steps
    batch, watch = BATCHES[side], EmbeddingWatch(run.pool, "global", 0, run.precision, BATCHES[side])
    watched = min(len(run.pool), WATCHED_IMAGES)
    look = min(timed(watch.measure, run.task.encoder, run.policies["global"]) for _ in range(2))
    save = timed(saved, run)
    added = {
        "looks": look * pretraining.LOOKING_SHARE * batch / watched / bare,
        "checkpoints": save / 60,
    }
    words = [sys.executable, "-m", "benchmarks.epoch", "--side", str(side), "--precision", precision, "--only"]
    memory = {kind: statistics.median(peak([*words, kind]) for _ in range(3)) for kind in ("whole", "bare")}
    return {
        "side": side,
        "batch": batch,
        "precision": run.precision.name,
        "step_s": round(bare, 3),
        "median": round(found["median"] + sum(added.values()), 3),
        "steps": found["median"],
        "quartiles": found["quartiles"],
        **{name: round(share, 4) for name, share in added.items()},
        "MiB": {kind: round(most) for kind, most in memory.items()},
        "memory": round(memory["whole"] / memory["bare"], 3),
    }


def timed(call: Callable[..., object], *args: object) -> float:
    began = clock()
    call(*args)
    return clock() - began


def saved(run: Ours) -> None:
    """Write a checkpoint of a run."""
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = Checkpoints(Path(scratch), "f" * 64, {})
        Run(run.task, run.optimizer(run.task), run.precision.scaler(), checkpoints, 60).save(0)


def only(kind: str, side: int, precision: str) -> None:
    """Do one run whose memory is being measured: the whole run, or bare steps."""
    run = on_photographs(side, precision, STEPS_FOR_MEMORY)
    if kind == "bare":
        run.bare(STEPS_FOR_MEMORY)()
        return
    with tempfile.TemporaryDirectory() as scratch:
        checkpoints = Checkpoints(Path(scratch), "f" * 64, {})
        pretraining.train(run.task, run.pool, run.policies, run.section, run.optimizer, run.precision, checkpoints)


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Number of rounds, each with a whole run.")
@click.option("--threads", default=1, show_default=True, help="Number of torch threads.")
@click.option("--side", "sides", type=click.Choice([*BATCHES]), multiple=True, help="Side of views of photographs, px.")
@click.option("--steps", default=6, show_default=True, help="Number of steps of a run on photographs.")
@click.option("--precision", default="auto", show_default=True, help="Precision on photographs.")
@click.option("--only", "kind", type=click.Choice(["whole", "bare"]), help="Do only this, to measure its memory.")
def main(rounds: int, threads: int, sides: Sequence[int], steps: int, precision: str, kind: str | None) -> None:
    """Print the ratio of the time per step of a run, everything included, to that of a bare step."""
    torch.set_num_threads(threads)
    if kind:
        only(kind, sides[0], precision)
        return
    if sides:
        print(json.dumps(machine()))
        for side in sides:
            said = {"what": "whole run of a ResNet-18, to bare steps", "threads": threads}
            print(json.dumps(said | photographs(side, precision, rounds, steps)), flush=True)
        return
    project = Project()
    bare, total = project.bare(), project.plan.total
    half = max(1, total // BARE_SHARE // 2)
    bare(READY_BATCHES)  # warm-up
    ratios, shares = [], {part: [] for part in PARTS}
    for _ in range(rounds):
        before = bare(half)
        took, parts = project.whole()
        ratios.append((took / total) / ((before + bare(half)) / (2 * half)))
        for part, seconds in parts.items():
            shares[part].append(seconds / took)
    said = {
        "what": "whole run, to bare steps",
        "recipe": project.section.recipe,
        "steps": total,
        "batch": project.plan.batch_size,
        "precision": project.precision.name,
        "threads": threads,
        "median": round(float(np.median(ratios)), 3),
        "all": [round(ratio, 3) for ratio in ratios],
        "shares": {part: round(float(np.median(found)), 4) for part, found in shares.items()},
    }
    print(json.dumps(machine()))
    print(json.dumps(said))


if __name__ == "__main__":
    main()
