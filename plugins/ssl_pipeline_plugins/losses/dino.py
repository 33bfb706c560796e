"""DINO: a student predicts which prototypes its slowly moving teacher assigns to another view.

Centring the teacher's scores keeps it from assigning all images to one prototype. Sharpening them keeps it from
assigning each image to all prototypes equally.

Source: Caron et al. 2021 (2104.14294), equations 2 to 4 and algorithm 1.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.prototypes import Prototypes, cross_entropy, prototype_figures, unused_prototypes
from ssl_pipeline.parts.teacher import Teacher
from ssl_pipeline.types import Finding, Kept, Register, Step, StepOutput, ViewLoss


class DINO(ViewLoss):
    """Mean cross-entropy, in nats, between the student's softmax over prototypes and the teacher's for another view.

    Args:
        prototypes: Number of prototypes K, at least 2. The paper calls it the output dimension.
        temperature: Temperature of the student's softmax, greater than 0.
        teacher_temperature: Temperature of the teacher's softmax, greater than 0; below the student's it sharpens.
        center_momentum: Momentum, in [0, 1], of the centre: the moving average of the teacher's scores that is
            subtracted from them. 1 disables centring.
        momentum: Momentum of the teacher's prototypes at the start, in [0, 1); it rises to 1. Use the same value as for
            the pretext task.
        frozen: Share of the training during which prototypes are frozen, in [0, 1).
    """

    prototypes: Prototypes
    teacher: Teacher
    center: Tensor

    def __init__(
        self,
        *,
        prototypes: int,
        temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        center_momentum: float = 0.9,
        momentum: float = 0.996,
        frozen: float = 0.01,
    ):
        super().__init__()
        if prototypes < 2:
            raise ValueError(f"prototypes must be at least 2, got {prototypes}")
        if min(temperature, teacher_temperature) <= 0:
            raise ValueError(
                f"temperature and teacher_temperature must be greater than 0, got {temperature}, {teacher_temperature}"
            )
        if not 0 <= center_momentum <= 1:
            raise ValueError(f"center_momentum must lie in [0, 1], got {center_momentum}")
        if not 0 <= frozen < 1:
            raise ValueError(f"frozen must lie in [0, 1), got {frozen}")
        self.count, self.temperature, self.teacher_temperature = prototypes, temperature, teacher_temperature
        self.center_momentum, self.momentum, self.frozen = center_momentum, momentum, frozen
        self.register_buffer("center", torch.zeros(prototypes))

    def fit_to(self, dim: int) -> None:
        """Initialise the prototypes at random, and copy them to the teacher."""
        super().fit_to(dim)
        self.prototypes = Prototypes(self.count, dim)
        self.teacher = Teacher(self.prototypes, momentum=self.momentum, rising=True)

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of the student's views (V, N, D) and the teacher's (T, N, D)."""
        scores = self.prototypes(predictions, learns=step.progress >= self.frozen)
        taught = self.teacher(targets)
        seen = torch.softmax((taught - self.center) / self.teacher_temperature, dim=2)
        loss = cross_entropy(seen, torch.log_softmax(scores / self.temperature, dim=2))
        figures = prototype_figures(seen) if step.measured else {}
        return StepOutput(loss, figures, {"mean_scores": taught.mean(dim=(0, 1))})

    @torch.no_grad()
    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the centre and the teacher's prototypes."""
        self.center.lerp_(kept["mean_scores"].to(self.center.dtype), 1 - self.center_momentum)
        self.teacher.follow(self.prototypes, step.done)

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report that a batch uses few prototypes, or that each image belongs to all of them equally."""
        even, sharp = "pretrain.loss: {center_momentum: 0.9}", "lower pretrain.loss: {teacher_temperature: ...}"
        return unused_prototypes(figures, self.count, figures["progress"], even, sharp)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `dino`."""
    register("dino", DINO)
