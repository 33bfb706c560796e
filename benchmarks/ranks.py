"""Every recipe with 2 and 4 processes, and in micro-batches, against one pass: `python -m benchmarks.ranks`.

A step covers 37 images, which neither number of processes divides. It is taken with an encoder without batch norms, and
again with one that has them. The table shows the difference of the losses and the largest difference of a gradient, as
shares of the loss and of the largest gradient of one process in one pass. Numbers are float64, except for tasks that
compute in float32 (*). `sent` is the number of bytes that a process sends in a step of the encoder without batch norms,
counted at the collectives, as a share of what the ring algorithm sends for gradients and embeddings: 2 (W - 1) / W of
their bytes. Micro-batches have up to 12 images, and all of them are encoded twice. The output is the table of
docs/scale.md.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple
from unittest.mock import patch

import click
import numpy as np
import torch
import torch.distributed as dist

from benchmarks.gradients import IN_FLOAT32, REGISTRY, SIZE, difference, gradients, in_micro_batches, task_of
from benchmarks.in_ranks import in_ranks
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.config import Choice
from ssl_pipeline.training import micro_batches
from ssl_pipeline.training.batch_norms import over_all_ranks
from ssl_pipeline.training.micro_batches import MicroBatches
from ssl_pipeline.training.together import ALONE, Ranks
from ssl_pipeline.types import Encoded

__all__ = ["IMAGES", "Found", "by_ranks", "of_a_recipe", "take_steps"]

IMAGES, MICRO_BATCH = 37, 12
NORMED = Choice.model_validate({"name": "resnet_cifar", "depth": 8, "width": 4})
COUNTS = (2, 4)
NO_NORMS = {"mae"}
"""Recipes that need patches, which networks with batch norms do not provide."""


class Found(NamedTuple):
    """Results of a step on one rank.

    Attributes:
        loss: Loss of the whole batch.
        gradients: Name of a weight -> its gradient.
        buffers: Name of a buffer -> its value, including running statistics.
        sent: Bytes that the rank has sent by collectives, according to the ring algorithm.
        least: Bytes of gradients and embeddings, which every rank needs.
    """

    loss: float
    gradients: dict[str, torch.Tensor]
    buffers: dict[str, torch.Tensor]
    sent: float = 0.0
    least: int = 0


def of_a_recipe(recipe: str, ranks: Ranks, normed: bool = False) -> Found:
    """Take a step up to its gradients, in which each rank encodes a share of the images.

    Args:
        recipe: Name of the recipe.
        ranks: Processes that take part.
        normed: Whether the encoder has batch norms.
    """
    half = (0.5, 0.5, 0.5)
    task = task_of(recipe, build_encoder(REGISTRY, NORMED, half, half, 0, SIZE) if normed else None)
    images, gathered = np.arange(IMAGES), 0

    def encode_share(encode: Any) -> Encoded:
        nonlocal gathered
        share = ranks.share(IMAGES)
        with over_all_ranks(ranks.count):
            encoded = ranks.gathered(encode(images[share], 0), IMAGES)
        gathered = sum(value.nbytes for value in encoded.values())
        return encoded

    with _Counted(ranks.count) as counted:
        loss, own = gradients(task, encode_share, IMAGES, lambda: over_all_ranks(ranks.count))
        ranks.average_gradients(task.parameters())
    least = gathered + sum(gradient.nbytes for gradient in own.values())
    return Found(loss, own, dict(task.named_buffers()), counted.bytes, least)


class _Counted:
    """Counter of the bytes that a rank sends by collectives, according to the ring algorithm."""

    def __init__(self, ranks: int):
        self.bytes, self._ranks = 0.0, ranks
        self._gather, self._reduce = dist.all_gather, dist.all_reduce

    def __enter__(self) -> "_Counted":
        dist.all_gather = self._counting_gather  # type: ignore[assignment]
        dist.all_reduce = self._counting_reduce  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        dist.all_gather, dist.all_reduce = self._gather, self._reduce

    def _counting_gather(self, every: list[torch.Tensor], own: torch.Tensor) -> None:
        self.bytes += (self._ranks - 1) * own.nbytes
        self._gather(every, own)

    def _counting_reduce(self, tensor: torch.Tensor, *operation: Any) -> None:
        self.bytes += 2 * (self._ranks - 1) / self._ranks * tensor.nbytes
        self._reduce(tensor, *operation)


def take_steps(ranks: Ranks, steps: Sequence[tuple[str, bool]]) -> list[tuple[Any, ...]]:
    """Take steps as one of several ranks."""
    return [tuple(of_a_recipe(recipe, ranks, normed)) for recipe, normed in steps]


def by_ranks(count: int, steps: Sequence[tuple[str, bool]]) -> list[list[Found]]:
    """Take steps with several processes; return the results of each rank for each step.

    Args:
        count: Number of processes.
        steps: Recipe of each step, and whether its encoder has batch norms.
    """
    from benchmarks.ranks import take_steps  # not from __main__, which forked processes do not have

    every = in_ranks(count, take_steps, steps)
    return [[Found(*own) for own in found] for found in zip(*every, strict=True)]


def by_micro_batches(recipe: str) -> Found:
    """Take a step in micro-batches, all of which are encoded twice."""
    task = task_of(recipe)
    with patch.object(micro_batches, "free_memory", lambda device: 0):
        batches = MicroBatches(task, MICRO_BATCH, torch.device("cpu"))
    loss, own = gradients(task, partial(in_micro_batches, batches, IMAGES), IMAGES, batches.unchanged_buffers)
    return Found(loss, own, dict(task.named_buffers()))


def _errors(found: Sequence[Found], whole: Found) -> tuple[float, float]:
    """Return the largest relative differences of the loss and of a gradient from one pass, over all ranks."""
    losses = max(abs(own.loss - whole.loss) / abs(whole.loss) for own in found)
    return losses, max(difference(own.gradients, whole.gradients) for own in found)


def _shown(error: float) -> str:
    return f"{error:.0e}" if error else "0"


@click.command()
def main() -> None:
    """Print the table of docs/scale.md."""
    torch.set_num_threads(1)
    recipes = REGISTRY.names("recipe")
    steps = [(recipe, normed) for recipe in recipes for normed in (False, True) if not (normed and recipe in NO_NORMS)]
    found = {count: dict(zip(steps, by_ranks(count, steps), strict=True)) for count in COUNTS}
    groups = [f"W = {count}: loss | gradient | with batch norms | sent" for count in COUNTS]
    columns = " | ".join(["recipe", *groups, "micro-batches: loss | gradient"])
    print(f"| {columns} |\n|" + "---|" * (columns.count(" | ") + 1))
    for recipe in recipes:
        whole, cells = of_a_recipe(recipe, ALONE), []
        for count in COUNTS:
            cells += map(_shown, _errors(found[count][recipe, False], whole))
            normed = found[count].get((recipe, True))
            cells.append(_shown(_errors(normed, of_a_recipe(recipe, ALONE, True))[1]) if normed else "")
            own = found[count][recipe, False][0]
            cells.append(f"{own.sent / (2 * (count - 1) / count * own.least):.2f}")
        cells += map(_shown, _errors([by_micro_batches(recipe)], whole))
        print(f"| {recipe}{'*' * (recipe in IN_FLOAT32)} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
