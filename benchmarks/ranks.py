"""Every recipe by 2 and 4 processes, and in micro-batches, against one pass: `python -m benchmarks.ranks`.

A step over 37 images, which no number of processes divides, with an encoder without batch norms and once more with one
that has them: the difference of the loss and the largest one of a gradient, as shares of the loss and of the largest
gradient of one process in one pass. Numbers are float64, but for tasks that compute in float32 (*). `sent` is what a
process hands over in a step of the encoder without batch norms, counted at the collectives, as a share of what the ring
algorithm sends for gradients and embeddings: 2 (W - 1) / W of the bytes of each. Micro-batches are of 12 images at
most, all of them encoded twice. The output is the table of docs/scale.md.
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
"""Recipes that ask for patches, which networks with batch norms do not offer."""


class Found(NamedTuple):
    """What a rank has after a step.

    Attributes:
        loss: The loss.
        gradients: Weight -> gradient.
        buffers: Buffer -> value, running statistics among them.
        sent: Bytes that it has handed to collectives, as rings send them.
        least: Bytes of gradients and embeddings, which all ranks need.
    """

    loss: float
    gradients: dict[str, torch.Tensor]
    buffers: dict[str, torch.Tensor]
    sent: float = 0.0
    least: int = 0


def of_a_recipe(recipe: str, ranks: Ranks, normed: bool = False) -> Found:
    """Take a step, up to its gradients, of which each rank encodes a share.

    Args:
        recipe: The recipe.
        ranks: The processes.
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
        ranks.average_gradients(task)
    least = gathered + sum(gradient.nbytes for gradient in own.values())
    return Found(loss, own, dict(task.named_buffers()), counted.bytes, least)


class _Counted:
    """Counts the bytes that a rank hands to collectives, as the ring algorithm sends them."""

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
    """Take steps by a number of processes; return for each step what each rank has found.

    Args:
        count: The number of processes.
        steps: The recipe of each step, and whether its encoder has batch norms.
    """
    from benchmarks.ranks import take_steps  # by the name under which a process that is forked has imported it

    every = in_ranks(count, take_steps, steps)
    return [[Found(*own) for own in found] for found in zip(*every, strict=True)]


def by_micro_batches(recipe: str) -> Found:
    """Take a step in micro-batches, none of which keeps more than it must."""
    task = task_of(recipe)
    with patch.object(micro_batches, "free_memory", lambda device: 0):
        batches = MicroBatches(task, MICRO_BATCH, torch.device("cpu"))
    loss, own = gradients(task, partial(in_micro_batches, batches, IMAGES), IMAGES, batches.unchanged_buffers)
    return Found(loss, own, dict(task.named_buffers()))


def _errors(found: Sequence[Found], whole: Found) -> tuple[float, float]:
    """Return the largest differences of the loss and of a gradient, on any rank."""
    losses = max(abs(own.loss - whole.loss) / abs(whole.loss) for own in found)
    return losses, max(difference(own.gradients, whole.gradients) for own in found)


def _shown(error: float) -> str:
    return f"{error:.0e}" if error else "0"


@click.command()
def main() -> None:
    """Print the table."""
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
