"""A plugin that notes in itself what follows a step needs, or that keeps a graph, is caught."""

from typing import Any

import pytest
import torch

from ssl_pipeline.testing import check_negatives
from ssl_pipeline.types import Candidates, Kept, Negatives, Step
from tests.testing.sound import SoundNegatives


class NotesAside(SoundNegatives):
    """It notes the keys in an attribute.

    Args:
        speed: How much lower the limit gets in a step, in [0, 0.05].
    """

    noted: Any = None

    def select(self, candidates: Candidates) -> Negatives:
        self.noted = candidates.keys.detach().mean()
        return super().select(candidates)

    def after_step(self, step: Step, kept: Kept) -> None:
        self.limit = self.limit - self.speed * (torch.tensor(0.0) if self.noted is None else self.noted).cos()


class KeepsAGraph(SoundNegatives):
    """It keeps keys with their graph.

    Args:
        speed: How much lower the limit gets in a step, in [0, 0.05].
    """

    def select(self, candidates: Candidates) -> Negatives:
        rows = {"limit": self.limit.expand(len(candidates.anchors))}
        samples = candidates.anchor_samples, candidates.key_samples
        return Negatives(candidates.keys, *samples, self.weigh, rows, kept={"keys": candidates.keys})


@pytest.mark.parametrize(
    ("plugin", "words"),
    [(NotesAside, "Return what after_step needs as `kept`"), (KeepsAGraph, "1 tensors of what is kept have a graph")],
)
def test_what_follows_a_step_is_kept_and_detached(plugin: type, words: str):
    with pytest.raises(AssertionError, match=words):
        check_negatives(plugin)
