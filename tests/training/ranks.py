"""What `test_together.py` runs under torchrun: gradients of all recipes, of which each rank encodes a share."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

from ssl_pipeline.training.together import Ranks, joined
from tests.training.test_micro_batches import REGISTRY, gradients, task_of

IMAGES = 37
"""Which the number of ranks does not divide."""


def of_a_recipe(recipe: str, ranks: Ranks) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss of a step over 37 images, and gradients, averaged over ranks."""
    task, images = task_of(recipe), np.arange(IMAGES)
    loss, own = gradients(task, lambda encode: ranks.gathered(encode(images[ranks.share(IMAGES)], 0), IMAGES), IMAGES)
    ranks.average_gradients(task)
    return loss, own


class Counted:
    """Counts the bytes that collectives of several ranks hand over, as rings do it."""

    def __init__(self, ranks: int):
        self.bytes, self._ranks = 0.0, ranks
        self._gather, self._reduce = dist.all_gather, dist.all_reduce
        dist.all_gather, dist.all_reduce = self.gather, self.reduce

    def gather(self, every: list[torch.Tensor], own: torch.Tensor) -> None:
        self.bytes += (self._ranks - 1) * own.nbytes
        self._gather(every, own)

    def reduce(self, tensor: torch.Tensor) -> None:
        self.bytes += 2 * (self._ranks - 1) / self._ranks * tensor.nbytes
        self._reduce(tensor)


if __name__ == "__main__":
    found, sent = {}, {}
    with joined(torch.device("cpu")) as ranks:
        counted = Counted(ranks.count)
        for recipe in REGISTRY.names("recipe"):
            counted.bytes = 0.0
            found[recipe] = of_a_recipe(recipe, ranks)
            sent[recipe] = counted.bytes
        if ranks.leads:
            torch.save({"ranks": ranks.count, "found": found, "sent": sent}, Path(sys.argv[1]))
