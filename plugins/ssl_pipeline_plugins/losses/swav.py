"""SwAV: the prototypes that one view is assigned to have to be predicted from another one.

Assignments fill all prototypes evenly, which rules out that all images get the same one.

Source: Caron et al. 2020 (2006.09882), equations 1 to 5; the queue: section 3.1, one for each view as in the authors'
code (github.com/facebookresearch/swav, main_swav.py), which starts to use it after some epochs; here it counts once it
is full.
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
    """Mean cross-entropy in nats of a view's softmax over prototypes and another view's assignment.

    Args:
        prototypes: Number of prototypes, K: some times the number of classes.
        temperature: Temperature of the softmax, greater than 0.
        epsilon: Softness of the assignment, greater than 0.
        iterations: Iterations of Sinkhorn and Knopp's algorithm; 0: a plain softmax, which collapses.
        queue_size: Past projections of the first view that are assigned beside the first view's, and as many of the
            second beside the second's, where a batch has few images for so many prototypes; 0: none.
        frozen: Share of the training before prototypes learn, in [0, 1).
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
        self.queue = Memory(queue_size) if queue_size else None  # of rows (T D): all targets of an image

    def fit_to(self, dim: int) -> None:
        """Draw the prototypes."""
        super().fit_to(dim)
        self.prototypes = Prototypes(self.count, dim)

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of views (V, N, D) and of those that are assigned (T, N, D)."""
        scores = self.prototypes(predictions, learns=step.progress >= self.frozen)
        assigned = torch.stack([self._assign(view, past) for view, past in self._with_past(targets.detach())])
        figures = prototype_figures(assigned) if step.measured else {}
        loss = cross_entropy(assigned, torch.log_softmax(scores / self.temperature, dim=2))
        return StepOutput(loss, figures, {} if self.queue is None else {"targets": targets.detach()})

    def _with_past(self, targets: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Return each target (N, D), and what the queue holds of its view (n, D), once the queue is full."""
        past = targets[:, :0]
        if self.queue is not None and len(held := self.queue.held()) == self.queue.size:
            past = held.reshape(len(held), len(targets), -1).transpose(0, 1).to(targets.dtype)
        return zip(targets, past, strict=True)

    @torch.no_grad()
    def _assign(self, view: Tensor, past: Tensor) -> Tensor:
        """Return shares (N, K) of prototypes in each image of a view (N, D), assigned beside past ones (n, D)."""
        scores = self.prototypes(torch.cat([view, past]))
        return sinkhorn(scores / self.epsilon, self.iterations)[: len(view)]

    def after_step(self, step: Step, kept: Kept) -> None:
        """Fill the queue."""
        if self.queue is not None:
            self.queue.push(kept["targets"].transpose(0, 1).flatten(1))

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report prototypes if few of them are used, or if they are all alike."""
        even, sharp = "pretrain.loss: {iterations: 3}", "lower pretrain.loss: {epsilon: ...}"
        return unused_prototypes(figures, self.count, figures["progress"], even, sharp)


def sinkhorn(logits: Tensor, iterations: int) -> Tensor:
    """Return rows (N, K) that sum to 1, of exponentials scaled so that all columns come to sum to N / K.

    In logarithms, since exp(1 / 0.05) has no room in half precision. Without iterations this is a softmax.
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
