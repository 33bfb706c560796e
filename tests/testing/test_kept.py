"""The kit catches plugins that keep what after_step needs in themselves, or that keep a graph."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ssl_pipeline.testing import check_loss, check_negatives
from ssl_pipeline.types import Candidates, Kept, Negatives, Step, StepOutput
from tests.testing.sound import SoundLoss, SoundNegatives


class NotesAside(SoundNegatives):
    """A strategy that stores the keys in an attribute.

    Args:
        speed: Decrease of the similarity limit per step, in [0, 0.05].
    """

    noted: Any = None

    def select(self, candidates: Candidates) -> Negatives:
        self.noted = candidates.keys.detach().mean()
        return super().select(candidates)

    def after_step(self, step: Step, kept: Kept) -> None:
        self.limit = self.limit - self.speed * (torch.tensor(0.0) if self.noted is None else self.noted).cos()


class KeepsAGraph(SoundNegatives):
    """A strategy that keeps the keys with their graph.

    Args:
        speed: Decrease of the similarity limit per step, in [0, 0.05].
    """

    def select(self, candidates: Candidates) -> Negatives:
        rows = {"limit": self.limit.expand(len(candidates.anchors))}
        samples = candidates.anchor_samples, candidates.key_samples
        return Negatives(candidates.keys, *samples, self.weigh, rows, kept={"keys": candidates.keys})


class LossKeepsAGraph(SoundLoss):
    """A loss that keeps the anchors with their graph.

    Args:
        weight: Initial value of the learned factor's logarithm, greater than 0.
    """

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        return super().forward(anchors, positives, negatives, step)._replace(kept={"anchors": anchors})


@pytest.mark.parametrize(
    ("check", "plugin", "words"),
    [
        (check_negatives, NotesAside, "Return what after_step needs as `kept`"),
        (check_negatives, KeepsAGraph, "1 tensors in `kept` have a graph"),
        (check_loss, LossKeepsAGraph, "1 tensors in `kept` have a graph"),
    ],
)
def test_what_follows_a_step_is_kept_and_detached(check: Callable[[type], None], plugin: type, words: str):
    with pytest.raises(AssertionError, match=words):
        check(plugin)
