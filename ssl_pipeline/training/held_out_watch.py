"""Monitoring of an encoder on held-out images, without labels, to notice when a run degrades its initial weights."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssl_pipeline import progress
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.data.store import Split, open_split
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.health.held_out import Sight, fallen, sight
from ssl_pipeline.training.embedding_watch import EmbeddingWatch
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.types import Finding, PretextTask

__all__ = ["HELD_OUT_IMAGES", "HeldOutWatch", "open_held_out"]

HELD_OUT_IMAGES = 512
"""Number of validation images to measure; all of them if there are fewer."""
_LEAST_IMAGES = 30
"""Number of images below which a fall could hardly be distinguished from chance."""


def open_held_out(store: Path, config: PretrainConfig) -> Split | None:
    """Open the held-out images to monitor a run on: the validation images, without labels.

    Returns:
        The split. None if the run needs no monitoring, because it takes no step, or because it starts from random
        weights and ships its last step; and None if there are fewer than 30 validation images.

    Raises:
        PipelineError: There are fewer than 30 validation images, but `pretrain.ship: best` needs them; or the split is
            damaged.
    """
    if not config.epochs or (config.init == "random" and config.ship == "last"):
        return None
    split = open_split(store, "val")
    if len(split) >= _LEAST_IMAGES:
        return split
    lack = f"the validation split has {len(split)} images, and at least {_LEAST_IMAGES} are needed"
    if config.ship == "best":
        raise PipelineError(
            f"pretrain.ship: best chooses a step on held-out images, but {lack}. Raise ingest.val_fraction, or set "
            "pretrain.ship: last."
        )
    progress.say(
        f"pretrain: the encoder is not compared with its initial weights: {lack}. To enable this, raise "
        "ingest.val_fraction."
    )
    return None


class _Best(NamedTuple):
    """The state of the best step so far, on the CPU, and the recall by which it was chosen."""

    step: int
    recall: float
    weights: Mapping[str, Tensor]


class HeldOutWatch:
    """Comparison of a task's encoder, as it would ship, with its initial weights on held-out images.

    Without images, it does nothing. Its state belongs in the checkpoint, as the initial weights cannot be measured
    again after a restart.

    Args:
        held_out: Images that are not learned from; None: nothing is measured.
        task: The task. Its main kind of view is used, at the size that ships, even while training uses smaller views.
        policies: Kind of view -> policy.
        config: The section `pretrain`.
        precision: The precision in which the encoder computes.
        batch_size: Number of views to encode at once.

    Attributes:
        findings: The findings of the last measurement.
    """

    def __init__(
        self,
        held_out: Split | None,
        task: PretextTask,
        policies: Mapping[str, Policy],
        config: PretrainConfig,
        precision: Precision,
        batch_size: int,
    ):
        kind = task.views.main
        self._policy, self._keeps_best = policies[kind], config.ship == "best"
        self._first = 1 if config.init == "random" else 0  # random weights never ship as they are
        self._watch = None
        if held_out is not None:
            self._watch = EmbeddingWatch(held_out, kind, config.seed, precision, batch_size, HELD_OUT_IMAGES)
        self._start: Sight | None = None
        self._best: _Best | None = None
        self.findings: list[Finding] = []

    def look_at_start(self, task: PretextTask) -> list[dict[str, float]]:
        """Measure the initial weights; return the row of step 0, or an empty list without images or after a resume."""
        return [] if self._start is not None or self._watch is None else [{"step": 0, **self.look(task, 0)}]

    def look(self, task: PretextTask, step: int) -> dict[str, float]:
        """Return the figures of `ssl_pipeline.health.held_out` after `step` steps; empty without images."""
        if self._watch is None:
            return {}
        with _finished(task):
            now = sight(*self._watch.embeddings(task.encoder, self._policy))
            self._start = self._start or now
            figures = now.figures(self._start)
            recall = figures["held_out_recall"]
            may_ship = self._keeps_best and step >= self._first
            if may_ship and (self._best is None or recall >= self._best.recall):
                self._best = _Best(step, recall, _on_the_cpu(task.state_dict()))
        self.findings = fallen(self._start, now)
        return figures

    def ship(self, task: PretextTask) -> int | None:
        """Load the state of the best step into the task and return the step; None: the last step ships.

        If two steps are equally good, the later one ships.
        """
        if self._best is None:
            return None
        task.load_state_dict(self._best.weights)
        return self._best.step

    def state_dict(self) -> dict[str, Any]:
        """Return the measurement of the start and the best step with its state, for a checkpoint; empty without any."""
        if self._start is None:
            return {}
        start = {
            "found": torch.from_numpy(self._start.found),
            "neighbours": torch.from_numpy(self._start.neighbours.copy()),
            "rank": self._start.rank,
        }
        return {"start": start, "best": self._best and self._best._asdict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state from a checkpoint."""
        if not state:
            return
        start, best = state["start"], state["best"]
        self._start = Sight(start["found"].numpy(), start["neighbours"].numpy(), start["rank"])
        self._best = best and _Best(**best)


@contextmanager
def _finished(task: PretextTask) -> Iterator[None]:
    """Finish the task within the block, as at the end of training; afterwards, restore its state bit for bit."""
    before = copy.deepcopy(task.state_dict())
    task.finish()
    try:
        yield
    finally:
        task.load_state_dict(before)


def _on_the_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
