"""SwAV: predict from one view the prototypes that another view of the image is assigned to.

Assignments use all prototypes evenly, so that images cannot all be assigned to the same one.

Source: Caron et al. 2020 (2006.09882), equations 1 to 5. The queue (section 3.1) is kept per view, as in the authors'
code (github.com/facebookresearch/swav, main_swav.py). That code starts to use it after some epochs; here it is used as
soon as it is full.
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.memory import Memory
from ssl_pipeline.parts.prototypes import Prototypes, cross_entropy, prototype_figures, unused_prototypes
from ssl_pipeline.types import Finding, Kept, Register, Step, StepOutput, ViewLoss


class SwAV(ViewLoss):
    """Mean cross-entropy, in nats, between one view's assignment to prototypes and another view's softmax over them.

    Args:
        prototypes: Number of prototypes K, at least 2; use several times the number of classes.
        temperature: Softmax temperature, greater than 0.
        epsilon: Softness of the assignment, greater than 0.
        iterations: Number of Sinkhorn-Knopp iterations, at least 0. With 0, the assignment is a plain softmax, which
            collapses.
        queue_size: Number of past projections of a view that are assigned along with the batch's projections of that
            view, for batches with few images per prototype. With 0, there is no queue.
        frozen: Share of the training during which prototypes are frozen, in [0, 1).
    """

    prototypes: Prototypes

    def __init__(
        self,
        *,
        prototypes: int,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        queue_size: int = 0,
        frozen: float = 0.01,
    ):
        super().__init__()
        if prototypes < 2:
            raise ValueError(f"prototypes must be at least 2, got {prototypes}")
        if min(temperature, epsilon) <= 0:
            raise ValueError(f"temperature and epsilon must be greater than 0, got {temperature} and {epsilon}")
        if min(iterations, queue_size) < 0:
            raise ValueError(f"iterations and queue_size must be at least 0, got {iterations} and {queue_size}")
        if not 0 <= frozen < 1:
            raise ValueError(f"frozen must lie in [0, 1), got {frozen}")
        self.count, self.temperature, self.epsilon = prototypes, temperature, epsilon
        self.iterations, self.frozen = iterations, frozen
        self.queue = Memory(queue_size) if queue_size else None  # each row (T D,) holds all targets of an image

    def fit_to(self, dim: int) -> None:
        """Initialise the prototypes at random."""
        super().fit_to(dim)
        self.prototypes = Prototypes(self.count, dim)

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of views (V, N, D), given those that are assigned to prototypes (T, N, D)."""
        scores = self.prototypes(predictions, learns=step.progress >= self.frozen)
        assigned = torch.stack([self._assign(view, past) for view, past in self._with_past(targets.detach())])
        figures = prototype_figures(assigned) if step.measured else {}
        loss = cross_entropy(assigned, torch.log_softmax(scores / self.temperature, dim=2))
        return StepOutput(loss, figures, {} if self.queue is None else {"targets": targets.detach()})

    def _with_past(self, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Return each target (N, D) with the queue's projections of its view (n, D); n is 0 until the queue is full."""
        past = targets[:, :0]
        if self.queue is not None and len(held := self.queue.held()) == self.queue.size:
            past = held.reshape(len(held), len(targets), -1).transpose(0, 1).to(targets.dtype)
        return zip(targets, past, strict=True)

    @torch.no_grad()
    def _assign(self, view: Tensor, past: Tensor) -> Tensor:
        """Return the assignments (N, K) of a view's projections (N, D), computed along with past ones (n, D)."""
        scores = self.prototypes(torch.cat([view, past]))
        return sinkhorn(scores / self.epsilon, self.iterations)[: len(view)]

    def after_step(self, step: Step, kept: Kept) -> None:
        """Add the targets to the queue."""
        if self.queue is not None:
            self.queue.push(kept["targets"].transpose(0, 1).flatten(1))

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report that a batch uses few prototypes, or that each image belongs to all of them equally."""
        even, sharp = "pretrain.loss: {iterations: 3}", "lower pretrain.loss: {epsilon: ...}"
        return unused_prototypes(figures, self.count, figures["progress"], even, sharp)


def sinkhorn(logits: Tensor, iterations: int) -> Tensor:
    """Return exponentials of logits (N, K), scaled so that rows sum to 1 and columns approach a sum of N / K.

    The scaling is done in logarithms, as exp(1 / 0.05) overflows in half precision. Without iterations it is a softmax.
    """
    images, count = logits.shape
    for _ in range(iterations):
        logits = logits - logits.logsumexp(dim=0, keepdim=True) - math.log(count)
        logits = logits - logits.logsumexp(dim=1, keepdim=True) - math.log(images)
    return torch.softmax(logits, dim=1)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `swav`."""
    register("swav", SwAV)
