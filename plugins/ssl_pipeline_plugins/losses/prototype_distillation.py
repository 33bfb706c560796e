"""Prototype distillation: a student predicts to which clusters of images its teacher assigns an image.

The clusters are found by k-means on the teacher's embeddings during training. The teacher's softmax over them is the
target: these are the softened targets of knowledge distillation, with clusters in place of classes. A prototype is the
direction of the sum of all embeddings that were assigned to it, and starts as one of them.

Sources: softened targets: Hinton et al. 2015 (1503.02531), section 2, equation 1; k-means of unit vectors: Dhillon and
Modha 2001 (10.1023/A:1007612920971), section 2; mini-batch k-means: Sculley 2010 (10.1145/1772690.1772862),
algorithm 1.
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
    """Cross-entropy, in nats, between the teacher's and the student's softmax over prototypes, mean over all views.

    Args:
        prototypes: Number of prototypes K, at least 2.
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
        """Initialise the prototypes at random; the first embeddings of the run replace them."""
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
        """Replace the prototypes by the first embeddings of a run, and add each later one to its nearest prototype."""
        embeddings = kept["embeddings"].to(self.sums.dtype)  # (A, D)
        first = step.number * len(embeddings)
        if first < self.count:
            own = embeddings[: self.count - first]
            self.sums[first : first + len(own)] = own
            embeddings = embeddings[len(own) :]
        nearest = (embeddings @ F.normalize(self.sums, dim=1).T).argmax(dim=1)
        self.sums += (
            F.one_hot(nearest, self.count).to(self.sums.dtype).T @ embeddings
        )  # a product, as a scatter's bits may vary from run to run

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report that a batch uses few prototypes, or that each image belongs to all of them equally."""
        even, sharp = (
            "raise pretrain.loss: {teacher_temperature: ...}",
            "lower pretrain.loss: {teacher_temperature: ...}",
        )
        # progress 1.0: the bound for the start of a training does not hold for clusters of fixed embeddings
        return unused_prototypes(figures, self.count, 1.0, even, sharp)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `prototype_distillation`."""
    register("prototype_distillation", PrototypeDistillation)
