"""Shared by the tests of shortcuts: an encoder that hides nothing, and training on images that are never repeated."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ssl_pipeline.testing.material import make_step
from ssl_pipeline.types import UNIFORMS, Backbone, PretextTask

Images = Callable[[int, torch.Generator], Tensor]
"""Function of a number of images and a generator that returns images (N, 3, S, S) in [0, 1]."""


class Pixels(Backbone):
    """A backbone whose embedding is the pixels themselves, so that a head can find whatever they contain.

    Args:
        side: Side of the images in px.
    """

    def __init__(self, side: int):
        super().__init__()
        self.embedding_dim = 3 * side**2

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)


def accuracy(
    task: PretextTask, training: Images, steps: int, evaluation: Images | None = None, count: int = 2000
) -> float:
    """Train a task on 128 new images per step; return its share of correct answers on further new images."""
    generator = torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(task.train().parameters(), lr=3e-3)

    def batch(images: Tensor) -> dict[str, Tensor]:
        return {"plain": images[:, None], UNIFORMS: torch.rand(len(images), task.uniforms, generator=generator)}

    for _ in range(steps):
        loss = task.compare(task(batch(training(128, generator))), make_step()).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    task.eval()
    with torch.no_grad():
        fresh = batch((evaluation or training)(count, generator))
        return task.compare(task(fresh), make_step()).metrics["pretext_accuracy"].item()


def deviation(answers: int, questions: int) -> float:
    """Return the standard deviation of the share of correct answers by guessing: that of a binomial distribution."""
    return math.sqrt((1 / answers) * (1 - 1 / answers) / questions)
