"""Images that nobody learns from, looked at without their labels, so that a start which is being ruined is noticed."""

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
"""Validation images that are looked at, or all where there are fewer."""
_LEAST_IMAGES = 30
"""Images with fewer of which a fall could hardly be told from chance."""


def open_held_out(store: Path, config: PretrainConfig) -> Split | None:
    """Open the images that a run is watched on: those of validation, without labels.

    Returns:
        The split; None where the run needs no watch, as it takes no step, or starts from nothing that could be ruined
        and ships its last step, and where there are too few such images.

    Raises:
        PipelineError: There are too few, and they are to choose what ships; or the split is damaged.
    """
    if not config.epochs or (config.init == "random" and config.ship == "last"):
        return None
    split = open_split(store, "val")
    if len(split) >= _LEAST_IMAGES:
        return split
    lack = f"the validation split has {len(split)} images, and {_LEAST_IMAGES} are needed: raise ingest.val_fraction"
    if config.ship == "best":
        raise PipelineError(f"pretrain.ship: best is chosen on held-out images. But {lack}, or set it to last.")
    progress.say(f"pretrain: whether the start is being ruined is not watched. For that, {lack}.")
    return None


class _Best(NamedTuple):
    """The state that would ship after a step, on the CPU, and the recall that it is the best by."""

    step: int
    recall: float
    weights: Mapping[str, Tensor]


class HeldOutWatch:
    """Looks at a task's encoder, as it would ship, on held-out images, and compares it with what it was at the start.

    Without images it does nothing. Its state belongs into the checkpoint: the start cannot be looked at again.

    Args:
        held_out: Images that are not learned from; None: none are watched.
        task: The task, whose main kind of view is looked at, at the size that ships whatever is trained on meanwhile.
        policies: Kind of view -> policy.
        config: The section `pretrain`.
        precision: The precision in which the encoder computes.
        batch_size: Number of views that are encoded at once.

    Attributes:
        findings: What is wrong, as of the last look.
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
        """Return the first row of the curves, of step 0; none where there is nothing to look at, or it was before."""
        return [] if self._start is not None or self._watch is None else [{"step": 0, **self.look(task, 0)}]

    def look(self, task: PretextTask, step: int) -> dict[str, float]:
        """Return the figures of `ssl_pipeline.health.held_out` after that many steps; none without images."""
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
        """Put the state of the best step in place and return the step; None: the last step ships as it is.

        Of two steps that are equally good, the later one ships.
        """
        if self._best is None:
            return None
        task.load_state_dict(self._best.weights)
        return self._best.step

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen at the start, and the best step with its state, for a checkpoint; empty if nothing."""
        if self._start is None:
            return {}
        start = {
            "found": torch.from_numpy(self._start.found),
            "neighbours": torch.from_numpy(self._start.neighbours.copy()),
            "rank": self._start.rank,
        }
        return {"start": start, "best": self._best and self._best._asdict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint holds."""
        if not state:
            return
        start, best = state["start"], state["best"]
        self._start = Sight(start["found"].numpy(), start["neighbours"].numpy(), start["rank"])
        self._best = best and _Best(**best)


@contextmanager
def _finished(task: PretextTask) -> Iterator[None]:
    """Make the encoder what would leave training now, until the block ends; then all is as it was, bit for bit."""
    before = copy.deepcopy(task.state_dict())
    task.finish()
    try:
        yield
    finally:
        task.load_state_dict(before)


def _on_the_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in state.items()}
