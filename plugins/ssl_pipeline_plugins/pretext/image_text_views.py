"""Images and their captions, and two views of each image besides: one backbone learns from both.

Captions say what images are of; two views say what an image remains under crops and colours. The loss of images and
captions is that of `image_text`; two views of the kind `global` are told from those of the batch's other images by a
softmax, as in SimCLR, through a projector of their own. What leaves training is the space of images and texts.

Source: SLIP (2112.12750), section 3, algorithm 1.
"""

from collections.abc import Mapping
from typing import Any

from ssl_pipeline import hookimpl
from ssl_pipeline.health.projections import spread_figures, spread_troubles
from ssl_pipeline.parts.heads import mlp
from ssl_pipeline.parts.multi_crop import stacked
from ssl_pipeline.parts.view_softmax import told_apart
from ssl_pipeline.types import (
    Encoded,
    Encoder,
    Finding,
    Loss,
    NegativeStrategy,
    Register,
    Step,
    StepOutput,
    ViewNeeds,
    Views,
)
from ssl_pipeline_plugins.pretext.image_text import ImageText

_LEAST_STD = 0.1  # of projections of views in a healthy run: as in joint embedding without a last norm


class ImageTextViews(ImageText):
    """The loss of images and captions, and `views_weight` times that of two views of each image.

    Args:
        encoder: The encoder to train.
        loss: The loss that shapes the energies of images and texts.
        negatives: The strategy that says which images and texts are incompatible.
        vocabulary: Most entries of the tokenizer's vocabulary, at least 259.
        context: Number of tokens of a caption with its start and its end, at least 3; the rest is cut off.
        width: Width of the text tower's blocks, a multiple of `heads`.
        depth: Number of its blocks, at least 1.
        heads: Number of its heads of attention, at least 1.
        out_dim: Length of an embedding in the space of images and texts; null: that of the backbone's own.
        hidden_dim: Width of the hidden layers of the projector of views, at least 1.
        views_dim: Length of a projection of a view, at least 1.
        layers: Number of layers of that projector, at least 2.
        views_temperature: Temperature of the softmax over views, greater than 0.
        views_weight: Weight of the loss of views, greater than 0.
        view: The kind of view that is held against captions, a gentle one.
    """

    def __init__(
        self,
        encoder: Encoder,
        loss: Loss,
        negatives: NegativeStrategy,
        *,
        vocabulary: int,
        context: int,
        width: int,
        depth: int,
        heads: int,
        out_dim: int | None,
        hidden_dim: int,
        views_dim: int,
        layers: int = 3,
        views_temperature: float = 0.1,
        views_weight: float = 1.0,
        view: str = "plain",
    ):
        for name, value, least in (("hidden_dim", hidden_dim, 1), ("views_dim", views_dim, 1), ("layers", layers, 2)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        for name, number in (("views_temperature", views_temperature), ("views_weight", views_weight)):
            if number <= 0:
                raise ValueError(f"{name} must be greater than 0, got {number}")
        super().__init__(
            encoder,
            loss,
            negatives,
            vocabulary=vocabulary,
            context=context,
            width=width,
            depth=depth,
            heads=heads,
            out_dim=out_dim,
            view=view,
        )
        self.temperature, self.weight = views_temperature, views_weight
        self.projector = mlp([encoder.backbone.embedding_dim, *[hidden_dim] * (layers - 1), views_dim])

    @classmethod
    def views_for(cls, options: Mapping[str, Any]) -> ViewNeeds:
        """Ask for a view of the kind that `view` names, and for two `global` ones.

        Raises:
            ValueError: The one is of the kind `global`, too.
        """
        return ViewNeeds(options.get("view", "plain"), 1, {"global": 2})

    def forward(self, views: Views) -> Encoded:
        """Return what images and captions need, and the backbone's embeddings (N, 2, D) of both `global` views."""
        both = views["global"]
        own = self.encoder.backbone(self.encoder.normalised(both.flatten(0, 1))).unflatten(0, both.shape[:2])
        return {**super().forward(views), "views": own}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Add the loss of two views of each image to that of images and captions."""
        loss, metrics, kept = super().compare(encoded, step)
        projections = self.projector(stacked([encoded["views"]]))  # (2N, P): first views, then second ones
        of_views = told_apart(projections, step.ids, self.temperature)
        if step.measured:
            spread = spread_figures(projections[: len(projections) // 2])
            told = {f"views_{name}": value for name, value in spread.items()}
            metrics = {**metrics, "views_loss": of_views.detach(), **told}
        return StepOutput(loss + self.weight * of_views, metrics, kept)

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report what has collapsed, of views as well."""
        views = {name.removeprefix("views_"): value for name, value in figures.items() if name.startswith("views_")}
        return [*super().diagnose(figures), *spread_troubles(views, _LEAST_STD, self.loss.remedy, of="views")]


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `image_text_views`."""
    register("image_text_views", ImageTextViews)
