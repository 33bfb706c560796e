"""Distillation: a student learns, without labels, to predict the embeddings of another encoder, its teacher.

The teacher is a file of any size; the student needs neither its network nor its input size. The student predicts the
teacher's embedding through a head that does not ship. The loss determines what has to agree: the embedding itself, its
similarity to those of other images, or the group of images that it belongs to. If the teacher does not know the images
well enough, the student can also learn to tell views of an image from those of others, as in SimCLR.

Sources: SimReg (2201.05131), section 3; SEED (2101.04731), section 3.2; a teacher that sees the student's own view:
Beyer et al. 2022 (2106.05237), section 3.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.health.projections import spread_figures, spread_troubles
from ssl_pipeline.parts.heads import ProjectedEnergy, mlp
from ssl_pipeline.parts.multi_crop import stacked
from ssl_pipeline.parts.view_softmax import told_apart
from ssl_pipeline.teacher_config import Teacher
from ssl_pipeline.types import (
    TEACHER,
    Encoded,
    Encoder,
    Finding,
    Kept,
    PretextTask,
    Register,
    Step,
    StepOutput,
    TaughtLoss,
    Teaching,
    ViewNeeds,
    Views,
)
from ssl_pipeline.types.teaching import Targets

_LEAST_SHARE = 0.15  # share of the spread of the teacher's embeddings, below which predictions have collapsed
_LEAST_TAUGHT = 0.01  # spread of the teacher's embeddings, as `projection_std`, below which they are all alike
_LEAST_STD = 0.1  # for projections of views in healthy runs, as in joint embedding without a last norm
_LOOKED_AT = 256  # most images whose predictions are matched for a figure, which bounds its cost in large batches


class Distill(PretextTask):
    """Views of each image, from which a student predicts a teacher's embedding of the image.

    Args:
        encoder: The encoder to train, the student.
        loss: The loss of predictions and the teacher's embeddings.
        teacher: The teacher: a path ending in .onnx or .safetensors, the name of a backbone with published weights, or
            {weights: PATH, size: 224, mean: [...], std: [...]} for a file that does not describe its input.
        teacher_dim: Length of the teacher's embeddings; the pipeline fills it in.
        targets: Images that the teacher sees: whole images, once, or the student's views, in each step.
        centre: Whether to subtract the mean of the teacher's embeddings over the images. Without this, they may all
            point in nearly the same direction.
        hidden_dim: Width of the hidden layers of the head, at least 1.
        layers: Number of layers of the head, at least 1; with 1, the head is a linear map.
        view: The kind of view that the student sees.
        views: Number of views of each image, at least 1.
        views_weight: Weight, at least 0, of the loss that tells two views of an image from those of others; 0 for none.
        views_dim: Length of a projection of a view in that loss, at least 1.
        views_temperature: Softmax temperature of that loss, greater than 0.
    """

    objective = TaughtLoss
    energy_head: ProjectedEnergy

    def __init__(
        self,
        encoder: Encoder,
        loss: TaughtLoss,
        *,
        teacher: Teacher | None = None,
        teacher_dim: int = 64,
        targets: Targets = "once",
        centre: bool = True,
        hidden_dim: int,
        layers: int = 2,
        view: str = "plain",
        views: int = 1,
        views_weight: float = 0.0,
        views_dim: int = 64,
        views_temperature: float = 0.2,
    ):
        super().__init__()
        for name, value in (("hidden_dim", hidden_dim), ("layers", layers), ("views_dim", views_dim)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if views_weight < 0:
            raise ValueError(f"views_weight must be at least 0, got {views_weight}")
        if views_weight and views < 2:
            raise ValueError(f"views_weight is {views_weight:g}, but there is one view of each image: set views to 2")
        if views_temperature <= 0:
            raise ValueError(f"views_temperature must be greater than 0, got {views_temperature}")
        asked = {"teacher": teacher, "teacher_dim": teacher_dim, "targets": targets, "centre": centre}
        self.views, self.teaching = self.views_for({"view": view, "views": views}), self.taught_by(asked)
        self.encoder, self.kind = encoder, view
        loss.fit_to(teacher_dim)
        self.loss, width = loss, encoder.embedding_dim
        self.energy_head = ProjectedEnergy(mlp([width, *[hidden_dim] * (layers - 1), teacher_dim]), loss)
        self.weight, self.temperature = views_weight, views_temperature
        self.projector = mlp([width, hidden_dim, views_dim]) if views_weight else None

    @classmethod
    def views_for(cls, options: Mapping[str, Any]) -> ViewNeeds:
        """Ask for `views` views of the kind that `view` names.

        Raises:
            ValueError: `views` is less than 1.
        """
        return ViewNeeds(options.get("view", "plain"), options.get("views", 1))

    @classmethod
    def taught_by(cls, options: Mapping[str, Any]) -> Teaching | None:
        """Return the teacher, the images that it sees, and the length of its embeddings.

        Raises:
            ValueError: The length is less than 1.
        """
        return Teaching(options["teacher"], options["targets"], options["teacher_dim"], options["centre"])

    def forward(self, views: Views) -> Encoded:
        """Return the student's embeddings (N, V, D) of all views, and the teacher's (N, T, D')."""
        seen = views[self.kind]
        return {"embeddings": self.encoder(seen.flatten(0, 1)).unflatten(0, seen.shape[:2]), "targets": views[TEACHER]}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Compare predictions with the teacher's embeddings and, if `views_weight` is set, views with each other."""
        students = stacked([encoded["embeddings"]])  # (VN, D): first views, then second ones
        predictions = self.energy_head.projector(students).unflatten(0, (self.views.count, -1))  # (V, N, D')
        targets = encoded["targets"].transpose(0, 1)  # (T, N, D')
        loss, metrics, kept = self.loss(predictions, targets, step)
        if step.measured:
            metrics = {**metrics, **self._figures(predictions[0], targets[0])}
        if self.projector is None:
            return StepOutput(loss, metrics, kept)
        projections = self.projector(students)[: 2 * len(step.ids)]
        of_views = told_apart(projections, step.ids, self.temperature)
        if step.measured:
            spread = spread_figures(projections[: len(step.ids)])
            told = {f"views_{name}": value for name, value in spread.items()}
            metrics = {**metrics, "views_loss": of_views.detach(), **told}
        return StepOutput(loss + self.weight * of_views, metrics, kept)

    @torch.no_grad()
    def _figures(self, predictions: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """Return figures of the agreement of predictions (N, D') with targets (N, D'), and of the spread of both.

        `teacher_recall` is the share of predictions whose nearest target, of up to 256, is that of their own image.
        """
        first, second = (F.normalize(rows[:_LOOKED_AT].float(), dim=1) for rows in (predictions, targets))
        cosines = first @ second.T
        energies = {
            "energy_compatible": self.loss.energy(first, second).mean(),
            "energy_incompatible": self.loss.energy(first, second.roll(1, dims=0)).mean(),
        }
        of_teacher = {f"teacher_{name}": value for name, value in spread_figures(targets).items()}
        return {
            **energies,
            "energy_gap": energies["energy_incompatible"] - energies["energy_compatible"],
            "teacher_recall": (cosines.argmax(dim=1) == torch.arange(len(first), device=first.device)).float().mean(),
            **spread_figures(predictions),
            **of_teacher,
        }

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the loss after a step."""
        self.loss.after_step(step, kept)

    def predict(self, images: Tensor) -> Tensor:
        """Return the student's predictions of the teacher's embeddings, unit-norm (N, D')."""
        return self.energy_head.project(self.encoder(images))

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report a teacher that cannot tell images apart, collapsed predictions, and the findings of the loss."""
        taught = figures.get("teacher_projection_std", 1.0)
        if taught < _LEAST_TAUGHT:
            return [
                Finding(
                    "empty teaching",
                    "empty teaching: the teacher's embeddings of different images are nearly the same. Check "
                    "pretrain.pretext_task.teacher, and the input that is stated for it.",
                    fatal=True,
                )
            ]
        views = {name.removeprefix("views_"): value for name, value in figures.items() if name.startswith("views_")}
        return [
            *spread_troubles(figures, _LEAST_SHARE * taught, self.loss.remedy),
            *spread_troubles(views, _LEAST_STD, self.loss.remedy, of="views"),
            *self.loss.diagnose(figures),
        ]


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `distill`."""
    register("distill", Distill)
