"""Micro-batches, for batches that do not fit into memory: the gradient of the whole batch, a few images at a time.

The loss compares the embeddings of the whole batch, so that each image meets all others, but the encoder never holds
more than one micro-batch. Each micro-batch is encoded once without storing activations for its gradient, and once more
with the same random numbers when that gradient is due. Up to rounding, the gradient is that of a single pass, whatever
heads and loss follow. Batch norms of a backbone normalise over a micro-batch (ghost batch norm), and each micro-batch
updates their running statistics once.

Sources: gradient caching: Gao et al. 2021 (2101.06983), section 3; ghost batch norm: Hoffer et al. 2017 (1705.08741),
section 3.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ssl_pipeline.training.step_memory import free_memory, kept_for_backward
from ssl_pipeline.types import Backbone, Encoded, Views

__all__ = ["MicroBatches"]

_SHARE_OF_FREE_MEMORY = 0.5
_SHARE_OF_VIEWS = 0.5  # bytes of views to make at once, as a share of the bytes of a micro-batch's activations

Positions = npt.NDArray[np.int64]
Make = Callable[[Positions], Views]
Encode = Callable[[Views, int], Encoded]


class _Known(NamedTuple):
    """Measurements of the first micro-batch.

    Attributes:
        gradient: Bytes per image that are stored for the gradient.
        views: Bytes of the views of an image.
        learning: Names of the encoded tensors that have a gradient; a teacher's, for example, have none.
    """

    gradient: float
    views: float
    learning: list[str]


class MicroBatches:
    """An encoder of a run's batches in micro-batches of equal or nearly equal size.

    As many micro-batches as fit into half of the free memory keep their activations and are not encoded a second time.
    This saves time and changes no bit, as gradients are summed in the same order. In the first step, which measures how
    much memory an image needs, all micro-batches are encoded twice.

    Args:
        network: The encoding network, on its device.
        size: The largest number of images to encode at once.
        device: The device of the network.
    """

    def __init__(self, network: nn.Module, size: int, device: torch.device):
        self._network, self._size = network, size
        self._recomputes = any(isinstance(part, Backbone) and part.recomputes for part in network.modules())
        self._memory = 0.0 if self._recomputes else _SHARE_OF_FREE_MEMORY * free_memory(device)
        self._known: dict[int, _Known] = {}  # side of the views -> measurements
        self._again = False  # whether some micro-batches of this step are encoded again

    def encode(self, make: Make, encode: Encode, positions: Positions, side: int) -> Encoded:
        """Encode a batch.

        Args:
            make: A function from positions (n,) in the pool to the views of these images.
            encode: A function that seeds torch's generators and encodes views. Its second argument is the row in the
                batch of the first of these images.
            positions: Positions (N,) of the batch's images in the pool.
            side: The side of the main views in px, which determines how much memory an image needs.

        Returns:
            The encoded batch: name -> (N, ...), with an autograd graph.
        """
        count = math.ceil(len(positions) / self._size)
        if count == 1:
            return encode(make(positions), 0)
        own = np.array_split(positions, count)  # equal parts: the statistics of a small remainder would be poor
        ends = np.cumsum([len(part) for part in own]).tolist()
        rows = [slice(end - len(part), end) for end, part in zip(ends, own, strict=True)]
        kept, together = self._fitting(side)
        views = _ViewsInTurn(make, positions, rows, together)
        first_kept = count - min(kept, count)  # the last ones are kept, as their gradients are due first
        self._again, parts = first_kept > 0, []
        for number, place in enumerate(rows):
            if side not in self._known:
                parts.append(self._first(encode, views.of(number), side))
                continue
            with torch.set_grad_enabled(number >= first_kept):
                parts.append(encode(views.of(number), place.start))
        whole = {name: torch.cat([part[name].detach() for part in parts]) for name in parts[0]}
        learning = self._known[side].learning
        del parts[:first_kept]

        def go_on(gradients: Mapping[str, Tensor]) -> None:
            for number in reversed(range(count)):
                place = rows[number]
                part = parts.pop() if number >= first_kept else encode(views.of(number), place.start)
                torch.autograd.backward(
                    [part[name] for name in gradients], [gradient[place] for gradient in gradients.values()]
                )

        return whole | _with_gradient({name: whole[name] for name in learning}, go_on)

    def forget(self) -> None:
        """Forget how much memory an image needs for its gradient; the next step measures it again."""
        self._known.clear()

    def _fitting(self, side: int) -> tuple[int, int]:
        """Return how many micro-batches can keep their activations, and for how many to make views at once."""
        if side not in self._known:
            return 0, 1
        gradient, views, _ = self._known[side]
        return int(self._memory / (gradient * self._size)), max(1, int(_SHARE_OF_VIEWS * gradient / views))

    def _first(self, encode: Encode, views: Views, side: int) -> Encoded:
        """Encode the first micro-batch of the run, and record its measurements."""
        with kept_for_backward(self._network) as kept:
            part = encode(views, 0)
        images = len(next(iter(views.values())))
        of_views = sum(value.nbytes for value in views.values())
        learning = [name for name, value in part.items() if value.requires_grad]
        self._known[side] = _Known(max(1.0, sum(kept) / images), of_views / images, learning)
        return {name: value.detach() for name, value in part.items()}

    @contextmanager
    def unchanged_buffers(self) -> Iterator[None]:
        """Restore buffers, such as running statistics, that the backward pass changes when it encodes images again."""
        buffers = list(self._network.buffers()) if self._again or self._recomputes else []
        before = [buffer.clone() for buffer in buffers]
        yield
        with torch.no_grad():
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)


class _ViewsInTurn:
    """Views of micro-batches, made for several neighbouring ones at once and held until others are requested.

    Args:
        make: A function from positions (n,) in the pool to the views of these images.
        positions: Positions (N,) of the batch's images in the pool.
        rows: Rows of each micro-batch in the batch.
        together: The number of micro-batches whose views are made at once.
    """

    def __init__(self, make: Make, positions: Positions, rows: Sequence[slice], together: int):
        self._make, self._positions, self._rows, self._together = make, positions, rows, together
        self._views: Views = {}
        self._held = slice(0, 0)

    def of(self, number: int) -> Views:
        """Return the views of a micro-batch."""
        own = self._rows[number]
        if not self._held.start <= own.start < self._held.stop:
            self._views = {}  # frees their memory before other views are made
            first = number - number % self._together
            neighbours = self._rows[first : first + self._together]
            self._held = slice(neighbours[0].start, neighbours[-1].stop)
            self._views = self._make(self._positions[self._held])
        within = slice(own.start - self._held.start, own.stop - self._held.start)
        return {kind: value[within] for kind, value in self._views.items()}


GoOn = Callable[[Mapping[str, Tensor]], None]


class _GradientLater(torch.autograd.Function):
    """Embeddings whose gradients are passed to a function that continues the backward pass."""

    @staticmethod
    def forward(ctx: Any, go_on: GoOn, names: Sequence[str], _: Tensor, *embeddings: Tensor) -> tuple[Tensor, ...]:
        ctx.go_on, ctx.names = go_on, names
        ctx.set_materialize_grads(False)
        return tuple(value.view_as(value) for value in embeddings)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[None, ...]:
        found = {name: gradient for name, gradient in zip(ctx.names, gradients, strict=True) if gradient is not None}
        with torch.enable_grad():
            ctx.go_on(found)
        return (None, None, None, *(None for _ in gradients))


def _with_gradient(embeddings: Encoded, go_on: GoOn) -> Encoded:
    """Return the embeddings such that their gradients, if any, are passed to a function: name -> gradient."""
    names = list(embeddings)
    asks = torch.empty(0, requires_grad=True)  # makes autograd call backward, as the embeddings have no graph
    return dict(zip(names, _GradientLater.apply(go_on, names, asks, *embeddings.values()), strict=True))
