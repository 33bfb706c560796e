"""A pool of 48 real digits of 8 px, and the means to pretrain on it in a second or two."""

import signal
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from sklearn.datasets import load_digits

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.data.captions import Captions
from ssl_pipeline.data.store import Split, open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.loading import load_registry
from ssl_pipeline.products import read_product, write_product
from ssl_pipeline.randomness import hash64
from ssl_pipeline.recipes import resolve
from ssl_pipeline.testing.material import make_targets
from ssl_pipeline.training import collapse
from ssl_pipeline.training.captions import tokenized
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.optimization import build_optimizer
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.preparation import build
from ssl_pipeline.training.pretraining import train
from ssl_pipeline.training.targets import KeptTargets
from ssl_pipeline.types import PretextTask
from tests.factories import BACKBONE, SPELLED, digit_images, in_clips

REGISTRY = load_registry()
SECTION = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))["pretrain"]
"""Section `pretrain` of params.yaml."""


@pytest.fixture(scope="session")
def make_pool(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Split]:
    """Return a function that opens a pool of some number of images, grey or coloured, and writes each pool once."""

    @cache
    def make(count: int = 48, coloured: bool = False) -> Split:
        images = (digit_images(count) * np.array([1.0, 0.6, 0.2] if coloured else 1.0)).round().astype(np.uint8)
        folder = tmp_path_factory.mktemp("store") / "train"
        moments = in_clips("train", np.arange(count))  # ignored by recipes that do not need times
        write_split(folder, np.sort(hash64("digit", np.arange(count))), [images], 8, moments=moments)
        facts = read_product(folder / "split.json", "ingest")
        write_product(folder / "split.json", facts | {"sha256": f"digits {count}"})
        return replace(open_split(folder.parent, "train"), captions=digit_captions(count))

    return make


def digit_captions(count: int) -> Captions:
    """Return captions for the first digits; every fifth has two. Tasks that learn only from images ignore them."""
    said = [(f"a handwritten {SPELLED[digit]}", f"the number {digit}") for digit in load_digits().target[:count]]
    return Captions.of([both[: 2 if row % 5 == 4 else 1] for row, both in enumerate(said)])


@pytest.fixture
def pool(make_pool: Callable[..., Split]) -> Split:
    return make_pool()


@pytest.fixture
def policies() -> dict[str, Policy]:
    view = {
        "size": 8,
        "random_resized_crop": {"p": 1.0, "scale": [0.5, 1.0], "ratio": [0.8, 1.25]},
        "gaussian_noise": {"p": 0.5, "std": 0.05},
    }
    gentle = {"size": 8, "random_resized_crop": {"p": 1.0, "scale": [0.8, 1.0], "ratio": [0.9, 1.1]}}
    large = {**view, "size": 18}  # 3 x 3 tiles need more than 8 px
    kinds = {"global": view, "local": {**view, "size": 4}, "plain": gentle, "large": large}
    return {kind: Policy.model_validate(policy) for kind, policy in kinds.items()}


@pytest.fixture
def configure() -> Callable[..., PretrainConfig]:
    """Return a function that makes a small section `pretrain` of params.yaml; its arguments replace values."""
    small = {
        "backbone": BACKBONE,
        "epochs": 4,
        "warmup": 0.25,
        "batch_size": 16,
        "precision": "fp32",
        "collapse": {"min_embedding_std": 0.0, "min_effective_rank": 0.0},
    }
    return lambda **values: PretrainConfig.model_validate({**SECTION, **small, **values})


@pytest.fixture
def build_small(pool: Split, policies: dict[str, Policy]) -> Callable[[PretrainConfig], PretextTask]:
    return lambda config: build(REGISTRY, resolve(REGISTRY, config), config, pool, policies)


def told_besides(task: PretextTask, data: Split) -> dict[str, Any]:
    """Return what `train` gets besides images, if the task uses it: captions, and the outputs of a teacher."""
    targets = None
    if task.teaching is not None:
        images = torch.from_numpy(data.images(np.arange(len(data)))).permute(0, 3, 1, 2)[:, None] / 255
        targets = KeptTargets(make_targets(images, task.teaching.dim)[:, 0].numpy())
    return {"texts": tokenized(task, data), "targets": targets}


def optimizer_of(config: PretrainConfig) -> Callable[[torch.nn.Module], torch.optim.Optimizer]:
    """Return the function that `train` makes its optimizer with."""
    return partial(build_optimizer, REGISTRY, config.optimizer, layer_decay=config.layer_decay)


@pytest.fixture
def cpu() -> torch.device:
    return torch.device("cpu")


@pytest.fixture
def run(pool, policies, build_small, cpu, tmp_path):
    """Return a function of the configuration that trains a new task and returns it with its curves."""

    def go(config, data=pool, name="run", change=lambda task: task, held_out=None):
        task = change(build_small(config))
        checkpoints = Checkpoints(tmp_path / ".work", name, {})
        with checkpoints.until_done():
            precision = Precision(config.precision, cpu)
            optimizer, told = optimizer_of(config), told_besides(task, data)
            history = train(task, data, policies, config, optimizer, precision, checkpoints, held_out=held_out, **told)
        return task, history

    return go


@pytest.fixture
def without_pictures(monkeypatch):
    """Leave out the picture of each collapsed run, which takes a second to draw."""
    monkeypatch.setattr(collapse, "draw_curves", lambda *_: None)


def stopping(task, last):
    """Make a task that asks for a stop, as by Ctrl-C, after a number of steps."""
    after_step = task.after_step

    def stop(step, kept):
        after_step(step, kept)
        if step.number + 1 == last:
            signal.raise_signal(signal.SIGINT)

    task.after_step = stop
    return task
