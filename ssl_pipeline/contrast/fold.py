"""Sums over anchors x keys, tile by tile, with a backward pass of its own.

The forward pass keeps one number an anchor; the backward pass computes each tile anew. Nothing of size anchors x keys
exists at any time, so memory grows with the number of embeddings, not with its square.

Source of the idea: gradient checkpointing, as in Inf-CL (2410.17243) for the softmax over a batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssl_pipeline.types import Tile

__all__ = ["Fold", "edge", "fold", "numbers", "spans", "tiles_of"]

_TILE_SIDE = {"cpu": 1024}  # px of a tile's side: 4 MB of float32 fit a processor's cache
_TILE_SIDE_ELSEWHERE = 4096  # a GPU wants fewer and larger kernels


def edge(device: torch.device) -> int:
    """Return the side of a square tile."""
    return _TILE_SIDE.get(device.type, _TILE_SIDE_ELSEWHERE)


@contextmanager
def tiles_of(side: int) -> Iterator[None]:
    """Use tiles of another side on the CPU while the block runs, so that few rows make many tiles."""
    before, _TILE_SIDE["cpu"] = _TILE_SIDE["cpu"], side
    try:
        yield
    finally:
        _TILE_SIDE["cpu"] = before


def spans(count: int, size: int) -> Iterator[slice]:
    """Cut `count` rows into runs of at most `size`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def numbers(anchor_samples: Tensor, key_samples: Tensor) -> tuple[Tensor, Tensor]:
    """Return small numbers (A,) and (K,) in place of ids, equal where these are: the places where ids first appear.

    Ids are hashes, and those of any tile range from the least to the largest; of these numbers a tile has a range of
    its own, by which `Fold` sees at once that most tiles hold no pair of one image.
    """
    both = torch.cat([anchor_samples, key_samples])
    _, which = torch.unique(both, return_inverse=True)
    place = torch.arange(len(both), device=both.device)
    first = torch.full_like(place, len(both)).scatter_reduce(0, which, place, "amin")[which]
    return first[: len(anchor_samples)], first[len(anchor_samples) :]


@dataclass(frozen=True)
class Fold:
    """What is summed over the keys of each anchor.

    Attributes:
        anchor_samples: (A,) int64 ids of the anchors' samples. A pair of equal samples is left out.
        key_samples: (K,) int64 ids of the keys' samples.
        values: A function from a tile to its values (a, k): terms, or their logarithms. None: `scale` times the
            similarities.
        logarithmic: Whether values are logarithms, and the log of the sum is wanted.
        scale: See `values`.
        edge: Side of a tile.
    """

    anchor_samples: Tensor
    key_samples: Tensor
    values: Callable[[Tile], Tensor] | None
    logarithmic: bool
    scale: float = 1.0
    edge: int = 1024

    def same(self, tile: "Place") -> Tensor | None:
        """Return which pairs are of one sample, (a, k) bool; None if there cannot be any, which is so in most tiles."""
        (low, high), (first, last) = tile.anchor_range, tile.key_range
        if low > last or first > high:
            return None
        return self.anchor_samples[tile.anchors, None] == self.key_samples[None, tile.keys]

    def places(self) -> Iterator[list["Place"]]:
        """Return the tiles, a list for each run of anchors."""
        of_keys = [(span, _range(self.key_samples[span])) for span in spans(len(self.key_samples), self.edge)]
        for anchors in spans(len(self.anchor_samples), self.edge):
            anchor_range = _range(self.anchor_samples[anchors])
            yield [Place(anchors, keys, anchor_range, key_range) for keys, key_range in of_keys]


class Place(NamedTuple):
    """Where a tile lies, and between which numbers the samples of its anchors and of its keys are."""

    anchors: slice
    keys: slice
    anchor_range: tuple[int, int]
    key_range: tuple[int, int]


def _range(samples: Tensor) -> tuple[int, int]:
    return int(samples.min()), int(samples.max())


def fold(plan: Fold, anchors: Tensor, keys: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
    """Sum over the keys of each anchor.

    Args:
        plan: What is summed.
        anchors: (A, D) anchors, float32 or wider.
        keys: Keys (K, D) of the same kind.
        rows: Name -> (A,), handed to `plan.values` a tile's worth at a time. Gradients reach them.

    Returns:
        (A,) sums, or their logarithms (-inf for an anchor without keys).
    """
    found: Tensor = _Fold.apply(plan, tuple(rows), anchors, keys, *rows.values())
    return found


def _values(plan: Fold, place: Place, similarities: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
    """Return the values of a tile, before pairs of one sample are left out."""
    if plan.values is None:
        return similarities * plan.scale
    return plan.values(Tile(similarities, place.anchors, place.keys, rows))


def _columns(names: Sequence[str], rows: Sequence[Tensor]) -> dict[str, Tensor]:
    return {name: row[:, None] for name, row in zip(names, rows, strict=True)}


class _Fold(torch.autograd.Function):
    """`fold`, differentiable."""

    @staticmethod
    def forward(ctx: Any, plan: Fold, names: tuple[str, ...], anchors: Tensor, keys: Tensor, *rows: Tensor) -> Tensor:
        nothing = -torch.inf if plan.logarithmic else 0.0
        sums = anchors.new_full((len(anchors),), nothing)
        for places in plan.places():
            for place in places:
                columns = _columns(names, [row[place.anchors] for row in rows])
                values = _values(plan, place, anchors[place.anchors] @ keys[place.keys].T, columns)
                same = plan.same(place)
                if same is not None:
                    values = values.masked_fill(same, nothing)
                total = sums[place.anchors]  # a view
                if plan.logarithmic:
                    torch.logaddexp(total, values.logsumexp(dim=1), out=total)
                else:
                    total += values.sum(dim=1)
        ctx.plan, ctx.names = plan, names
        ctx.save_for_backward(anchors, keys, sums if plan.logarithmic else None, *rows)
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        anchors, keys, sums, *rows = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        inputs = [anchors, keys, *rows]
        gradients = [torch.zeros_like(one) if need else None for one, need in zip(inputs, needed, strict=True)]
        if sums is not None:
            sums = sums.masked_fill(sums == -torch.inf, 0.0)  # no key, no gradient: exp(-inf - 0) is 0
        backward = _Backward(ctx.plan, ctx.names, inputs, gradients)
        for places in ctx.plan.places():
            for place in places:
                backward.tile(place, gradient[place.anchors, None], None if sums is None else sums[place.anchors, None])
        return (None, None, *gradients)


class _Backward:
    """The gradient of one tile after another, added up.

    Args:
        plan: What was summed.
        names: The names of the rows.
        inputs: Anchors, keys, rows.
        gradients: A sum for each input, None where none is wanted.
    """

    def __init__(self, plan: Fold, names: Sequence[str], inputs: Sequence[Tensor], gradients: Sequence[Tensor | None]):
        self._plan, self._names = plan, names
        self._anchors, self._keys = inputs[:2]
        self._rows = inputs[2:]
        self._of_anchors, self._of_keys = gradients[:2]
        self._of_rows = gradients[2:]

    def tile(self, place: Place, gradient: Tensor, sums: Tensor | None) -> None:
        """Add a tile's share.

        Args:
            place: The place of the tile.
            gradient: (a, 1) gradients of the sums.
            sums: (a, 1) logs of sums, if values are logarithms.
        """
        a, k = self._anchors[place.anchors], self._keys[place.keys]
        similarities = a @ k.T
        if self._plan.values is None:
            change = self._of_values(place, similarities.mul_(self._plan.scale), gradient, sums) * self._plan.scale
        else:
            change = self._chain(place, similarities.requires_grad_(), gradient, sums)
        if self._of_anchors is not None:
            self._of_anchors[place.anchors].addmm_(change, k)
        if self._of_keys is not None:
            self._of_keys[place.keys].addmm_(change.T, a)

    def _chain(self, place: Place, similarities: Tensor, gradient: Tensor, sums: Tensor | None) -> Tensor:
        """Return the gradient of a tile's similarities through its values; those of rows are added on the way."""
        rows = [row[place.anchors].detach().requires_grad_() for row in self._rows]
        with torch.enable_grad():
            values = _values(self._plan, place, similarities, _columns(self._names, rows))
        change = self._of_values(place, values.detach(), gradient, sums)
        of_similarities, *of_rows = torch.autograd.grad(
            values, [similarities, *rows], change, allow_unused=True, materialize_grads=True
        )
        for total, part in zip(self._of_rows, of_rows, strict=True):
            if total is not None:
                total[place.anchors] += part
        return of_similarities

    def _of_values(self, place: Place, values: Tensor, gradient: Tensor, sums: Tensor | None) -> Tensor:
        """Return the gradient of a tile's values (a, k): 0 where a pair is of one sample."""
        change = gradient.expand_as(values) if sums is None else values.sub(sums).exp_().mul_(gradient)
        same = self._plan.same(place)
        return change if same is None else change.masked_fill(same, 0.0)
