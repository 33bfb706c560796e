"""A whole run of pretraining against its bare steps: `python -m benchmarks.epoch`, in a project after augment has run.

A bare step is forward, loss, backward and the optimizer's step on views that lie ready; the whole run has what else
there is to it: reading images, making views, looks at the encoder, checkpoints, curves. In each round half of the bare
steps come before the whole run and half after it, so that what slows the machine slows both. Times are the process's
own with one thread, else those of a clock. The output is JSON; `shares` says where the run's time goes.
"""

import json
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import torch

from benchmarks.interleaved import machine
from ssl_pipeline import config
from ssl_pipeline.data.store import open_split
from ssl_pipeline.loading import load_registry
from ssl_pipeline.operations import load_policies
from ssl_pipeline.recipes import method_of
from ssl_pipeline.training import batch_encoder, optimization, preparation, pretraining
from ssl_pipeline.training.batch_inputs import inputs
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.embedding_watch import EmbeddingWatch
from ssl_pipeline.training.memory_format import memory_format
from ssl_pipeline.training.precision import best_device, resolve_precision
from ssl_pipeline.training.run import Run
from ssl_pipeline.types import Step

READY_BATCHES = 4
BARE_SHARE = 4  # a round takes this part of the run's steps bare
PARTS = {
    "views": (batch_encoder, "inputs"),
    "looks": (EmbeddingWatch, "measure"),
    "checkpoints": (Run, "save"),
    "curves": (pretraining.CurveFiles, "add"),
}


def clock() -> float:
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


class Timed:
    """Adds up how long a function takes."""

    def __init__(self, owner: object, name: str):
        self.seconds, self._of = 0.0, getattr(owner, name)

    def __call__(self, *args: object) -> object:
        began = clock()
        try:
            return self._of(*args)
        finally:
            self.seconds += clock() - began


class Project:
    """What a run of the project in this folder is made of."""

    def __init__(self) -> None:
        self.registry = load_registry()
        self.method = method_of(self.registry, config.load(Path("params.yaml")).pretrain)
        self.section = self.method.pretrain
        self.policies = load_policies(self.registry, Path("data/augmented/policy.json")).views
        self.pool = open_split(Path("data/ingested/store"), "train")
        self.precision = resolve_precision(self.section.precision, best_device())
        self.optimizer = partial(optimization.build_optimizer, self.registry, self.section.optimizer)
        self.plan = pretraining.Plan.of(len(self.pool), self.section)

    def task(self) -> torch.nn.Module:
        return preparation.build(self.registry, self.method.recipe, self.section, self.pool, self.policies)

    def whole(self) -> tuple[float, dict[str, float]]:
        """Return how long a run takes, s, and how long its parts take."""
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
        """Return a function that takes as many bare steps, and returns how long they took, s."""
        task, device = self.task(), self.precision.device
        task.to(device, memory_format=memory_format(task, device)).train()
        optimizer = self.optimizer(task)
        ready = []
        for number, epoch, positions in self.plan.batches(self.section.seed, self.pool.ids, 0):
            if number == READY_BATCHES:
                break
            images, ids = torch.from_numpy(self.pool.images(positions)).to(device), self.pool.ids[positions]
            views = inputs(task, self.policies, images, ids, self.section.seed, epoch, self.pool.spec)
            step = Step(number, self.plan.total, epoch, self.section.seed, torch.from_numpy(ids.view(np.int64)))
            ready.append((views, step))

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


@click.command()
@click.option("--rounds", default=3, show_default=True, help="Rounds, each with a whole run.")
@click.option("--threads", default=1, show_default=True, help="Threads of torch, for both.")
def main(rounds: int, threads: int) -> None:
    """Print the ratio of the time of a run's step, all included, to that of a bare one."""
    torch.set_num_threads(threads)
    project = Project()
    bare, total = project.bare(), project.plan.total
    half = max(1, total // BARE_SHARE // 2)
    bare(READY_BATCHES)  # warms up
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
