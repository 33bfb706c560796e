"""A step: what a task, its loss and its strategy are told of it, and what they give back."""

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
"""What is kept of a step for `after_step`: name -> a detached tensor, or what a part of the object keeps."""


@dataclass(frozen=True)
class Step:
    """One step of a training, and its samples.

    Attributes:
        number: The number of the step, from 0.
        total: The number of steps of the training.
        epoch: The number of the epoch, from 0.
        seed: The run's seed.
        ids: (N,) int64, the ids of the images of the data that the samples are views of, on the device of the views.
            They are the same in all steps, and equal for equal images. Any int64 can be an id.
        measured: Whether the figures of this step are looked at. Those of other steps need not be computed.
        shown: (N, V) int64, the ids of the images that the views of the main kind are of, where some of these are other
            frames of a clip; None: all are of the sample's own image.
        near: The places of all images in time, by which some are no negatives of each other; None: time does not count.

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
        """The share of the training done before this step, in [0, 1)."""
        return self.number / self.total

    @property
    def done(self) -> float:
        """The share of the training done with this step, in (0, 1]."""
        return (self.number + 1) / self.total

    def samples(self, view: int) -> Tensor:
        """Return the ids (N,) of the images that main views are of, given the number of the view, from 0."""
        return self.ids if self.shown is None else self.shown[:, view]

    def uniforms(self, samples: Tensor, purpose: str, count: int) -> Tensor:
        """Return random numbers (n, count) float32 in [0, 1) of images, wherever in a batch or in a memory these are.

        They are hashed from the seed, the epoch, the image and the purpose, and depend on nothing else: not on the
        batch, nor on whether the run was resumed.

        Args:
            samples: (n,) int64 ids of images, such as `ids` or `Candidates.key_samples`.
            purpose: What the numbers are for, such as "my_strategy/kept". Another purpose has other numbers.
            count: The number of numbers per image; the first ones do not depend on it.
        """
        numbers = randomness.uniforms(self.seed, self.epoch, samples.numpy(force=True), f"step/{purpose}", count)
        return torch.from_numpy(numbers).to(samples.device)


class StepOutput(NamedTuple):
    """What comes of comparing the samples of a step: a task or a loss returns it.

    Attributes:
        loss: A scalar with a graph.
        metrics: Name -> a detached scalar worth a curve, the same names in every step that is measured.
        kept: What `after_step` is given once the optimizer has moved the weights, detached.

    Examples:
        >>> error = torch.tensor([1.0, 3.0], requires_grad=True)
        >>> output = StepOutput(error.mean(), {"largest_error": error.max().detach()}, kept={"error": error.detach()})
        >>> output.loss.item(), output.metrics["largest_error"].item(), output.kept["error"].tolist()
        (2.0, 3.0, [1.0, 3.0])
    """

    loss: Tensor
    metrics: Mapping[str, Tensor]
    kept: Kept = MappingProxyType({})
