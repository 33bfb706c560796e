"""Prototype distillation: a student should see in an image the groups of images that its teacher sees in it.

The groups are k-means clusters of the teacher's embeddings, found while training goes on, and a softmax over them is
the teacher's answer: what knowledge distillation calls softened targets, with clusters in place of classes. A prototype
is the direction of the sum of all embeddings that were assigned to it, and begins as one of them.

Sources: softened targets: Hinton et al. 2015 (1503.02531), section 2, equation 1; k-means of unit vectors: Dhillon and
Modha 2001 (10.1023/A:1007612920971), section 2; batch by batch: Sculley 2010 (10.1145/1772690.1772862), algorithm 1.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.parts.prototypes import prototype_figures, unused_prototypes
from ssl_pipeline.types import Finding, Kept, Register, Step, StepOutput, TaughtLoss


class PrototypeDistillation(TaughtLoss):
    """Cross-entropy in nats of the student's softmax over prototypes and the teacher's, mean over views and images.

    Args:
        prototypes: Number of prototypes, K, at least 2.
        temperature: Temperature of the student's softmax, greater than 0.
        teacher_temperature: Temperature of the teacher's softmax, greater than 0; below the student's it sharpens.
    """

    sums: Tensor

    def __init__(self, *, prototypes: int = 256, temperature: float = 0.1, teacher_temperature: float = 0.05):
        super().__init__()
        if prototypes < 2:
            raise ValueError(f"prototypes must be at least 2, got {prototypes}")
        if min(temperature, teacher_temperature) <= 0:
            raise ValueError(
                f"temperature and teacher_temperature must be greater than 0, got {temperature}, {teacher_temperature}"
            )
        self.count, self.temperature, self.teacher_temperature = prototypes, temperature, teacher_temperature

    def fit_to(self, dim: int) -> None:
        """Draw prototypes at random, until embeddings take their places."""
        super().fit_to(dim)
        self.register_buffer("sums", F.normalize(torch.randn(self.count, dim), dim=1))

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of predictions (V, N, D) and the teacher's embeddings (T, N, D)."""
        student, teacher = F.normalize(widened(predictions), dim=2), F.normalize(widened(targets), dim=2)
        prototypes = F.normalize(self.sums, dim=1).to(teacher.dtype)
        seen = (F.linear(teacher, prototypes) / self.teacher_temperature).softmax(dim=2)  # (T, N, K)
        predicted = (F.linear(student, prototypes) / self.temperature).log_softmax(dim=2)
        figures = prototype_figures(seen) if step.measured else {}
        return StepOutput(-(seen * predicted).sum(dim=2).mean(), figures, {"embeddings": teacher.flatten(0, 1)})

    @torch.no_grad()
    def after_step(self, step: Step, kept: Kept) -> None:
        """Let the first embeddings of a run take the prototypes' places, and all be added to the nearest one."""
        embeddings = kept["embeddings"].to(self.sums.dtype)  # (A, D)
        first = step.number * len(embeddings)
        if first < self.count:
            own = embeddings[: self.count - first]
            self.sums[first : first + len(own)] = own
            embeddings = embeddings[len(own) :]
        nearest = (embeddings @ F.normalize(self.sums, dim=1).T).argmax(dim=1)
        self.sums += (
            F.one_hot(nearest, self.count).to(self.sums.dtype).T @ embeddings
        )  # no scatter: the same bits always

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report prototypes if few of them are used, or if they are all alike."""
        even, sharp = (
            "raise pretrain.loss: {teacher_temperature: ...}",
            "lower pretrain.loss: {teacher_temperature: ...}",
        )
        return unused_prototypes(figures, self.count, 1.0, even, sharp)  # clusters of what is given are not even early


@hookimpl
def register_losses(register: Register) -> None:
    """Add `prototype_distillation`."""
    register("prototype_distillation", PrototypeDistillation)
