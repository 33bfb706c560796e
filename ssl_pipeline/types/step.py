"""A training step: what a task, its loss and its strategy receive for it, and what they return."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssl_pipeline import randomness
from ssl_pipeline.types.near import Near

__all__ = ["Kept", "Step", "StepOutput"]

Kept = Mapping[str, Any]
"""Data of a step that `after_step` receives: name -> a detached tensor, or the data of a part of the object."""


@dataclass(frozen=True)
class Step:
    """One step of the training, with its samples.

    Attributes:
        number: Number of the step, from 0.
        total: Number of steps of the training.
        epoch: Number of the epoch, from 0.
        seed: Seed of the run.
        ids: Ids (N,) int64 of the images that the samples are views of, on the device of the views. The id of an image
            is the same in all steps, and equal images have equal ids. Any int64 can be an id.
        measured: Whether the figures of this step are recorded. If not, they need not be computed.
        shown: Ids (N, V) int64 of the images that the views of the main kind show, if some of these are other frames of
            a clip; None if all show the sample's own image.
        near: Position of each image in time, so that neighbouring frames are never negatives of each other; None if
            time is ignored.

    Examples:
        >>> step = Step(number=2, total=8, epoch=0, seed=0, ids=torch.tensor([7, 9, 11]))
        >>> step.progress, step.done
        (0.25, 0.375)
        >>> numbers = step.uniforms(step.ids, "my_strategy/kept", count=2)
        >>> numbers.shape, torch.equal(numbers[1:2], step.uniforms(torch.tensor([9]), "my_strategy/kept", count=2))
        (torch.Size([3, 2]), True)
    """

    number: int
    total: int
    epoch: int
    seed: int
    ids: Tensor
    measured: bool = True
    shown: Tensor | None = None
    near: Near | None = None

    @property
    def progress(self) -> float:
        """Share of the training that is done before this step, in [0, 1)."""
        return self.number / self.total

    @property
    def done(self) -> float:
        """Share of the training that is done after this step, in (0, 1]."""
        return (self.number + 1) / self.total

    def samples(self, view: int) -> Tensor:
        """Return the ids (N,) of the images that the main views with the number `view`, from 0, show."""
        return self.ids if self.shown is None else self.shown[:, view]

    def uniforms(self, samples: Tensor, purpose: str, count: int) -> Tensor:
        """Return random numbers (n, count) float32 in [0, 1) for images, wherever in a batch or a memory these are.

        The numbers are a hash of the seed, the epoch, the image and the purpose. They depend on nothing else: neither
        on the batch nor on whether the run was resumed.

        Args:
            samples: Ids (n,) int64 of images, such as `ids` or `Candidates.key_samples`.
            purpose: Purpose of the numbers, such as "my_strategy/kept". Each purpose has different numbers.
            count: Number of random numbers per image; the first ones do not depend on it.
        """
        numbers = randomness.uniforms(self.seed, self.epoch, samples.numpy(force=True), f"step/{purpose}", count)
        return torch.from_numpy(numbers).to(samples.device)


class StepOutput(NamedTuple):
    """The result of comparing the samples of a step, which a task or a loss returns.

    Attributes:
        loss: Loss of the step, a scalar with a graph.
        metrics: Name -> a detached scalar for the curves; the names are the same in every step that is measured.
        kept: Data, detached, that `after_step` receives once the optimizer has updated the weights.

    Examples:
        >>> error = torch.tensor([1.0, 3.0], requires_grad=True)
        >>> output = StepOutput(error.mean(), {"largest_error": error.max().detach()}, kept={"error": error.detach()})
        >>> output.loss.item(), output.metrics["largest_error"].item(), output.kept["error"].tolist()
        (2.0, 3.0, [1.0, 3.0])
    """

    loss: Tensor
    metrics: Mapping[str, Tensor]
    kept: Kept = MappingProxyType({})
