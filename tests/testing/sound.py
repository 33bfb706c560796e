"""One sound plugin of each kind, and a way to break them."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.parts.heads import ProjectedEnergy
from ssl_pipeline.testing import check_backbone, check_loss, check_negatives, check_pretext_task
from ssl_pipeline.testing.material import InBatch, Plain, PlainViews, SmallBackbone
from ssl_pipeline.testing.plain_tasks import compare_pairs
from ssl_pipeline.types import (
    Candidates,
    Encoded,
    Kept,
    Loss,
    Negatives,
    PretextTask,
    Step,
    StepOutput,
    Tile,
    ViewNeeds,
    Views,
)


class SoundLoss(Plain):
    """A plain loss with a learned factor and a counter of its steps.

    Args:
        weight: Initial value of the learned factor's logarithm, greater than 0.
    """

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(weight))
        self.register_buffer("steps", torch.tensor(0.0))

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        plain = super().forward(anchors, positives, negatives, step).loss
        loss = plain * self.factor.exp() * (1 + 0.01 * self.steps.cos())
        return StepOutput(loss, {"factor": self.factor.detach()})

    def after_step(self, step: Step, kept: Kept) -> None:
        self.steps = self.steps + 1


class SoundViewLoss(PlainViews):
    """The plain loss of views, unchanged."""


class SoundNegatives(InBatch):
    """Keys of the batch, of which ever more of the nearest ones are left out during training.

    Args:
        speed: Decrease of the similarity limit per step, in [0, 0.05].
    """

    traits = frozenset({"selected"})

    def __init__(self, speed: float = 0.01):
        super().__init__()
        self.speed = speed
        self.register_buffer("limit", torch.tensor(1.1))

    def select(self, candidates: Candidates) -> Negatives:
        rows = {"limit": self.limit.expand(len(candidates.anchors))}
        return Negatives(candidates.keys, candidates.anchor_samples, candidates.key_samples, self.weigh, rows)

    def weigh(self, tile: Tile) -> Tensor:
        return torch.zeros_like(tile.similarities).masked_fill(tile.similarities > tile.rows["limit"], -torch.inf)

    def after_step(self, step: Step, kept: Kept) -> None:
        self.limit = self.limit - self.speed


class SoundTask(PretextTask):
    """Two views through a projector.

    Args:
        encoder: Encoder to train.
        loss: Loss of pairs of views.
        dim: Dimension of the projections.
    """

    def __init__(self, encoder: nn.Module, loss: Loss, dim: int = 8):
        super().__init__()
        self.views = self.views_for({})
        self.encoder, self.loss = encoder, loss
        self.energy_head = ProjectedEnergy(nn.Linear(encoder.embedding_dim, dim), loss)

    @classmethod
    def views_for(cls, options: Mapping[str, Any]) -> ViewNeeds:
        return ViewNeeds("global", 2)

    def forward(self, views: Views) -> Encoded:
        embeddings = torch.stack([self.encoder(view) for view in views["global"].unbind(1)], dim=1)
        return {"embeddings": embeddings}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        projected = F.normalize(self.energy_head.projector(encoded["embeddings"]), dim=2)
        return compare_pairs(projected, step, self.loss, InBatch())

    def predict(self, images: Tensor) -> Tensor:
        return self.energy_head.projector(self.encoder(images))


class SoundBackbone(SmallBackbone):
    """A small backbone with dropout.

    Args:
        in_channels: Number of channels of the images.
        share: Share of features dropped, in [0, 1).
    """

    def __init__(self, in_channels: int = 3, share: float = 0.1):
        super().__init__(in_channels)
        self.dropout = nn.Dropout(share)

    def forward(self, images: Tensor) -> Tensor:
        return self.dropout(super().forward(images))


CHECKS = {
    SoundLoss: check_loss,
    SoundViewLoss: check_loss,
    SoundNegatives: check_negatives,
    SoundTask: check_pretext_task,
    SoundBackbone: check_backbone,
}


def broken(base: type, words: str, label: str, **changes: Any) -> Any:
    """Return a test case: a sound plugin with changed members and its own docstring, and the message to expect."""
    plugin = type("Broken", (base,), {"__doc__": base.__doc__, **changes})
    return pytest.param(CHECKS[base], plugin, words, id=f"{base.__name__}: {label}")
