"""The simplest pretext tasks, which losses, strategies and backbones are tested in."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.testing.material import drawn_from
from ssl_pipeline.types import (
    TEACHER,
    Candidates,
    Encoded,
    Encoder,
    Kept,
    Loss,
    NegativeStrategy,
    Objective,
    PretextTask,
    Step,
    StepOutput,
    TaughtLoss,
    Teaching,
    ViewLoss,
    ViewNeeds,
    Views,
)

__all__ = ["Agreement", "Pairs", "Taught", "compare_pairs"]


def compare_pairs(embeddings: Tensor, step: Step, loss: Loss, strategy: NegativeStrategy) -> StepOutput:
    """Return the loss of unit-norm embeddings (N, 2, D) of two views per image, each the positive of the other."""
    count = len(embeddings)
    anchors = embeddings.transpose(0, 1).flatten(0, 1)  # (2N, D)
    positives = anchors.roll(count, dims=0)
    samples = step.ids.repeat(2)
    negatives = strategy.select(Candidates(anchors, positives, samples, anchors, samples, step))
    value, metrics, kept = loss(anchors, negatives.compatible(positives), negatives, step)
    return StepOutput(value, {**metrics, **negatives.figures}, {"loss": kept, "negatives": negatives.kept})


class _TwoViews(PretextTask):
    """A task with two views per image and a loss of the encoder's embeddings."""

    def __init__(self, encoder: Encoder, loss: Objective):
        super().__init__()
        self.views = self.views_for({})
        self.encoder = encoder
        with drawn_from(0):
            loss.fit_to(encoder.backbone.embedding_dim)

    @classmethod
    def views_for(cls, options: Mapping[str, Any]) -> ViewNeeds:
        """Return two `global` views."""
        del options
        return ViewNeeds("global", 2)

    def _embedded(self, views: Views) -> Tensor:
        """Return embeddings (N, 2, D)."""
        images = views["global"]
        embeddings: Tensor = self.encoder(images.flatten(0, 1)).reshape(len(images), 2, -1)
        return embeddings

    def predict(self, images: Tensor) -> Tensor:
        """Return unit-norm embeddings (N, D)."""
        return F.normalize(self.encoder(images), dim=1)


class Pairs(_TwoViews):
    """A task that compares pairs of embeddings, in which losses with negatives, strategies and backbones are tested.

    Args:
        encoder: The encoder of the images.
        loss: The loss of pairs.
        negatives: The strategy that selects the negatives.
    """

    def __init__(self, encoder: Encoder, loss: Loss, negatives: NegativeStrategy):
        super().__init__(encoder, loss)
        self.loss, self.negatives = loss, negatives

    def forward(self, views: Views) -> Encoded:
        """Return unit-norm embeddings (N, 2, D)."""
        return {"embeddings": F.normalize(self._embedded(views), dim=2)}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the loss in which each view is an anchor, and the other view of its image is the positive."""
        return compare_pairs(encoded["embeddings"], step, self.loss, self.negatives)

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the loss and the strategy."""
        self.loss.after_step(step, kept["loss"])
        self.negatives.after_step(step, kept["negatives"])


class Agreement(_TwoViews):
    """A task with a loss without negatives.

    Args:
        encoder: The encoder of the images.
        loss: The loss of views.
    """

    objective = ViewLoss

    def __init__(self, encoder: Encoder, loss: ViewLoss):
        super().__init__(encoder, loss)
        self.loss = loss

    def forward(self, views: Views) -> Encoded:
        """Return embeddings (N, 2, D)."""
        return {"embeddings": self._embedded(views)}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the loss in which each view is the target of the other one."""
        views = encoded["embeddings"].transpose(0, 1)
        found: StepOutput = self.loss(views, views, step)
        return found

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the loss."""
        self.loss.after_step(step, kept)


class Taught(_TwoViews):
    """A task that compares embeddings with those of a teacher.

    Args:
        encoder: The encoder of the images.
        loss: The loss of predictions and a teacher's embeddings.
    """

    objective = TaughtLoss

    def __init__(self, encoder: Encoder, loss: TaughtLoss):
        super().__init__(encoder, loss)
        self.loss, self.teaching = loss, Teaching(None, "views", encoder.backbone.embedding_dim)

    def forward(self, views: Views) -> Encoded:
        """Return embeddings (N, 2, D) and the teacher's embeddings (N, 2, D)."""
        return {"embeddings": self._embedded(views), "targets": views[TEACHER]}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the loss that compares each view with its target."""
        predictions, targets = (encoded[name].transpose(0, 1) for name in ("embeddings", "targets"))
        found: StepOutput = self.loss(predictions, targets, step)
        return found

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the loss."""
        self.loss.after_step(step, kept)
