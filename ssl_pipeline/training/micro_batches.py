"""Batches that do not fit into memory: the gradient of the whole batch, from some of its images at a time.

What compares samples is given the embeddings of the whole batch, so that each image meets all others; what encodes
them never holds more than a micro-batch. Each micro-batch is encoded once without keeping what its gradient needs, and
once more when that gradient is due, with the same random numbers. The gradient is that of one pass to its last digits,
whatever heads and loss follow. Batch norms of a backbone take a micro-batch for their batch (ghost batch norm), and
take each into their running statistics once.

Sources: gradient caching: Gao et al. 2021 (2101.06983), section 3; activation checkpointing: Chen et al. 2016
(1604.06174), section 4; ghost batch norm: Hoffer et al. 2017 (1705.08741), section 3.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ssl_pipeline.training.step_memory import free_memory, kept_for_backward
from ssl_pipeline.types import Backbone, Encoded

__all__ = ["MicroBatches"]

_SHARE_OF_FREE_MEMORY = 0.5


class MicroBatches:
    """Encodes the batches of a run in micro-batches of equal sizes, or nearly so.

    As many micro-batches as fit into half of the free memory keep what their gradients need, and are not encoded a
    second time. That saves time and changes no bit: gradients are added up in the same order.

    Args:
        network: What encodes, on its device.
        size: The most images that are encoded at once.
        device: The device of the network.
    """

    def __init__(self, network: nn.Module, size: int, device: torch.device):
        self._network, self._size = network, size
        self._recomputes = any(isinstance(part, Backbone) and part.recomputes for part in network.modules())
        self._memory = 0.0 if self._recomputes else _SHARE_OF_FREE_MEMORY * free_memory(device)
        self._bytes: dict[int, float] = {}  # side of the views -> what is kept of an image for its gradient
        self._again = False  # whether some micro-batches of this step are encoded again

    def encode(
        self, encode: Callable[[npt.NDArray[np.int64], int], Encoded], positions: npt.NDArray[np.int64], side: int
    ) -> Encoded:
        """Encode a batch: name -> (N, ...), with a graph.

        Args:
            encode: A function that seeds torch's generators, makes the views of some images and encodes them. It is
                given their positions (n,) in the pool, and the place in the batch of the first of them.
            positions: (N,) positions of the batch's images in the pool.
            side: The side of the main views in px, on which depends what is kept for gradients.
        """
        count = math.ceil(len(positions) / self._size)
        if count == 1:
            return encode(positions, 0)
        fitting = int(self._memory / (self._bytes[side] * self._size)) if side in self._bytes else 1
        first_kept = count - max(1, min(fitting, count))  # the last ones, whose gradients are due first
        self._again, parts, start = first_kept > 0, [], 0
        for number, part in enumerate(np.array_split(positions, count)):  # no small rest, whose statistics are poor
            if number < first_kept:  # `encode` seeds the generators itself
                parts.append(checkpoint(encode, part, start, use_reentrant=False, preserve_rng_state=False))
            else:
                with kept_for_backward(self._network) as kept:
                    parts.append(encode(part, start))
                self._bytes[side] = max(1.0, sum(kept) / len(part))
            start += len(part)
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}

    @contextmanager
    def unchanged_buffers(self) -> Iterator[None]:
        """Keep a backward pass from changing buffers, such as running statistics, by encoding anything again."""
        buffers = list(self._network.buffers()) if self._again or self._recomputes else []
        before = [buffer.clone() for buffer in buffers]
        yield
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
