"""A check of the memory that comparing a batch takes."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssl_pipeline.contrast.fold import tiles_of
from ssl_pipeline.testing.material import make_step, make_views
from ssl_pipeline.testing.training import Trial

__all__ = ["needs_no_square_of_the_batch"]

_IMAGE_COUNTS = (600, 1200)  # images per batch
_TILE_SIDE = 256  # rows of a tile: small enough not to hide a tensor of images x images
_MAX_GROWTH = 3.2  # growth of the largest tensor: a factor of 2 is linear in the batch size, 4 is quadratic


def needs_no_square_of_the_batch(trial: Trial) -> None:
    """Check that the largest tensor made by comparing a batch does not grow with the square of the batch size."""
    largest = []
    for count in _IMAGE_COUNTS:
        task = trial.task(0).train()
        with torch.no_grad():
            encoded = task(make_views(task, count, trial.subject.size))
        leaves = {name: value.requires_grad_(value.is_floating_point()) for name, value in encoded.items()}
        with tiles_of(_TILE_SIDE), _Largest() as watch:
            task.compare(leaves, make_step(count)).loss.backward()  # type: ignore[no-untyped-call]
        largest.append(watch.elements)
    trial.subject.require(
        largest[1] <= _MAX_GROWTH * largest[0],
        f"it makes a tensor of {largest[1]} elements for {_IMAGE_COUNTS[1]} images, and of {largest[0]} elements for "
        f"{_IMAGE_COUNTS[0]}: memory grows with the square of the batch size. Use ssl_pipeline.contrast (log_mass, "
        "negative_sum, nearest), which works tile by tile.",
    )


class _Largest(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A recorder of the largest tensor that any operation returns, including those of the backward pass."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                held = tensor.untyped_storage().nbytes() // tensor.element_size()  # less than numel if expanded
                self.elements = max(self.elements, min(tensor.numel(), held))
        return result
