"""Shared parts of studies with many short runs: training in memory, and a file of JSON lines for several processes.

A cell is one arm of a study with one seed. Each process runs the cells that it is told to run, on CUDA if available,
and appends a line to the file as soon as a cell is finished. A cell that has a line in the file is not run again.
"""

import fcntl
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
import yaml

from benchmarks.project import ROOT
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import PretrainConfig, PretrainSection
from ssl_pipeline.data.store import Split
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import Recipe, method_of
from ssl_pipeline.training.captions import TokenizedCaptions, tokenized
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.curves import History
from ssl_pipeline.training.optimization import build_optimizer
from ssl_pipeline.training.precision import best_device, resolve_precision
from ssl_pipeline.training.preparation import build
from ssl_pipeline.training.pretraining import train
from ssl_pipeline.training.targets import TeacherTargets
from ssl_pipeline.types import PretextTask

__all__ = ["Cell", "Line", "Trained", "append", "crossed", "device_name", "of_settings", "read", "trained", "undone"]

LEVEL = 0.95
Line = dict[str, Any]


class Cell(NamedTuple):
    """A unit of work: an arm of a study with a seed."""

    arm: str
    seed: int


class Trained(NamedTuple):
    """A finished run: the task (in eval mode, on its training device), recipe, settings, captions and curves."""

    task: PretextTask
    recipe: Recipe
    config: PretrainConfig
    texts: TokenizedCaptions | None
    history: History | None


def trained(
    pool: Split,
    policies: Mapping[str, Policy],
    values: Mapping[str, Any],
    teach: Callable[[torch.device], TeacherTargets] | None = None,
) -> Trained:
    """Train on a pool, in memory.

    Args:
        pool: Images to learn from.
        policies: Policy of each kind of view.
        values: Values that replace those of the section `pretrain` of params.yaml; with `epochs: 0`, the task stays
            untrained.
        teach: Function that takes the training device and returns the teacher's targets for the pool; None if the task
            has no teacher.
    """
    registry = load_registry()
    section = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["pretrain"]
    chosen = {**section, "precision": "fp32", "on_collapse": "warn", **values}
    method = method_of(registry, PretrainSection.model_validate(chosen | {"epochs": max(1, chosen["epochs"])}))
    config, device = method.pretrain, best_device()
    task, history = build(registry, method.recipe, config, pool, policies), None
    texts = tokenized(task, pool)
    if chosen["epochs"]:
        make_optimizer = partial(build_optimizer, registry, config.optimizer, layer_decay=config.layer_decay)
        targets = teach(device) if teach else None
        with tempfile.TemporaryDirectory() as work:
            checkpoints = Checkpoints(Path(work), "f" * 64, {})
            with checkpoints.until_done():
                precision = resolve_precision(config.precision, device)
                parts = (task, pool, policies, config, make_optimizer, precision, checkpoints)
                history = train(*parts, texts=texts, targets=targets)
    return Trained(task.to(device).eval(), method.recipe, config, texts, history)


def device_name() -> str:
    """Return the name of the device on which this process trains."""
    device = best_device()
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Append a whole line to a file, even while other processes append to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        cut = end > 0 and file.read(1) != b"\n"  # a process was killed while writing
        file.write(b"\n" * cut + json.dumps(line).encode() + b"\n")


def read(path: Path) -> list[Line]:
    """Return the lines of a file, without those that were cut off; an empty list if the file does not exist."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue  # so its cell will be run again
    return found


def of_settings(path: Path, settings: Mapping[str, Any]) -> list[Line]:
    """Return the lines of a file that have all these settings."""
    return [line for line in read(path) if all(line.get(name) == value for name, value in settings.items())]


def undone(path: Path, arms: Iterable[str], seeds: Iterable[int], settings: Mapping[str, Any]) -> Iterator[Cell]:
    """Yield the cells that have no line with these settings yet."""
    for cell in [Cell(arm, seed) for seed in seeds for arm in arms]:
        if not of_settings(path, {**settings, **cell._asdict()}):
            yield cell


def crossed(
    values: npt.NDArray[Any], groups: npt.NDArray[Any], strata: npt.NDArray[Any] | None = None, resamples: int = 2000
) -> tuple[float, float, float]:
    """Return a mean and its 95% bootstrap interval; each resample draws both seeds and groups.

    With few seeds the interval is a little too short: by a third with two seeds, by a tenth with five.

    Args:
        values: Values (s, n) of n queries with each of s seeds; for a difference, those of one arm minus those of the
            other.
        groups: Names (n,) of groups; queries with the same name are not independent evidence.
        strata: Names (n,) of classes; groups are drawn within each class, and the means of the classes are averaged.
            None: a single stratum.
        resamples: Number of bootstrap resamples.
    """
    random = np.random.default_rng(0)
    seeds = random.multinomial(len(values), np.full(len(values), 1 / len(values)), size=resamples) / len(values)
    means, drawn = [], []
    for stratum in np.unique(strata) if strata is not None else [None]:
        own = np.full(len(groups), True) if strata is None else strata == stratum
        names, numbers = np.unique(groups[own], return_inverse=True)
        sums = np.stack([np.bincount(numbers, row, minlength=len(names)) for row in values[:, own].astype(float)])
        sizes = np.bincount(numbers, minlength=len(names))
        counts = random.multinomial(len(names), np.full(len(names), 1 / len(names)), size=resamples)
        means.append(sums.sum() / (len(values) * sizes.sum()))
        drawn.append(np.einsum("bs,sg,bg->b", seeds, sums, counts, optimize=True) / (counts @ sizes))
    low, high = np.quantile(np.mean(drawn, axis=0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(np.mean(means)), float(low), float(high)
