"""Images with their captions, and two more views of each image: one backbone learns from both.

Captions say what images show; two views show what stays the same under crops and changes of colour. The loss of images
and captions is that of `image_text`. Two views of the kind `global` are told from those of the other images of the
batch by a softmax, as in SimCLR, through a separate projector. The space of images and texts is what ships.

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

_LEAST_STD = 0.1  # for projections of views in healthy runs, as in joint embedding without a last norm


class ImageTextViews(ImageText):
    """The loss of images and captions, plus `views_weight` times that of two views of each image.

    Args:
        encoder: The encoder to train.
        loss: The loss that shapes the energies of images and texts.
        negatives: The strategy that selects the incompatible pairs of images and texts.
        vocabulary: Largest number of entries of the tokenizer's vocabulary, at least 259.
        context: Largest number of tokens of a caption, including its start and its end, at least 3; longer captions are
            cut off.
        width: Width of the text tower's blocks, a multiple of `heads`.
        depth: Number of blocks of the text tower, at least 1.
        heads: Number of attention heads of the text tower, at least 1.
        out_dim: Length of an embedding in the space of images and texts; null uses the backbone's embedding.
        hidden_dim: Width of the hidden layers of the projector of views, at least 1.
        views_dim: Length of a projection of a view, at least 1.
        layers: Number of layers of the projector of views, at least 2.
        views_temperature: Temperature of the softmax over views, greater than 0.
        views_weight: Weight of the loss of views, greater than 0.
        view: The kind of view that is compared with captions, with gentle augmentation.
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
        """Ask for one view of the kind that `view` names, and for two `global` ones.

        Raises:
            ValueError: `view` names the kind `global`, too.
        """
        return ViewNeeds(options.get("view", "plain"), 1, {"global": 2})

    def forward(self, views: Views) -> Encoded:
        """Return the embeddings of images and captions, and the backbone's (N, 2, D) of both `global` views."""
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
        """Report the same as `image_text`, and collapsed projections of views."""
        views = {name.removeprefix("views_"): value for name, value in figures.items() if name.startswith("views_")}
        return [*super().diagnose(figures), *spread_troubles(views, _LEAST_STD, self.loss.remedy, of="views")]


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `image_text_views`."""
    register("image_text_views", ImageTextViews)
