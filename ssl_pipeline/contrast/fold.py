"""Sums over anchors x keys, tile by tile, with a custom backward pass.

The forward pass keeps one number per anchor; the backward pass recomputes each tile. Nothing of size anchors x keys
exists at any time, so memory grows with the number of embeddings, not with its square.

If a batch is compared with itself, a tile and its mirror image across the diagonal hold the same values. Only one of
the two is computed, and enters the sums twice: summed over its rows, and over its columns.

Source of the idea: gradient checkpointing, as in Inf-CL (2410.17243) for the softmax over a batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ssl_pipeline.types import Tile

__all__ = ["Fold", "edge", "fold", "left_out", "numbers", "spans", "tiles_of"]

_TILE_SIDE = {"cpu": 512}  # rows of a tile: two tiles of 1 MB of float32 fit into a core's cache
_TILE_SIDE_ELSEWHERE = 4096  # a GPU needs fewer and larger kernels


def edge(device: torch.device) -> int:
    """Return the side of a square tile on a device."""
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
    """Return small numbers (A,) and (K,) that replace ids and are equal if ids are: the places where ids first appear.

    Ids are hashes, and in any tile they range from the smallest to the largest. These numbers have a separate range in
    each tile, from which `Fold` sees at once that most tiles hold no pair of one image.
    """
    both = torch.cat([anchor_samples, key_samples])
    _, which = torch.unique(both, return_inverse=True)
    place = torch.arange(len(both), device=both.device)
    first = torch.full_like(place, len(both)).scatter_reduce(0, which, place, "amin")[which]
    return first[: len(anchor_samples)], first[len(anchor_samples) :]


@dataclass(frozen=True)
class Fold:
    """The definition of a sum over the keys of each anchor.

    Attributes:
        anchor_samples: Numbers (A,) int64 of the anchors' samples.
        key_samples: Numbers (K,) int64 of the keys' samples.
        values: Function from a tile to its values (a, k): terms, or their logarithms. None: the terms are exp(`scale`
            times the similarity), which must be finite.
        logarithmic: Whether values are logarithms, and the log of the sum is wanted.
        scale: Factor of similarities, if `values` is None.
        mirrored: Whether anchors are the keys, with the same samples, and values depend on similarities only.
        edge: Side of a tile.
        within: Largest difference of the numbers of two samples whose pair is left out; 0: only pairs of one sample.
    """

    anchor_samples: Tensor
    key_samples: Tensor
    values: Callable[[Tile], Tensor] | None
    logarithmic: bool = False
    scale: float = 1.0
    mirrored: bool = False
    edge: int = 512
    within: int = 0

    def places(self) -> Iterator["Place"]:
        """Yield the places of tiles; of two that mirror each other, only the one above the diagonal."""
        many = max(len(self.anchor_samples), len(self.key_samples)) > self.edge
        of_anchors, of_keys = (list(_ranges(ids, self.edge, many)) for ids in (self.anchor_samples, self.key_samples))
        for anchors, (low, high) in of_anchors:
            for keys, (first, last) in of_keys:
                if not self.mirrored or keys.start >= anchors.start:
                    above = self.mirrored and keys.start > anchors.start
                    yield Place(anchors, keys, above, low > last + self.within or first > high + self.within)

    def left_out(self, values: Tensor, place: "Place", nothing: float) -> Tensor:
        """Return values (a, k) with `nothing` for pairs of one sample."""
        return values if place.strangers else values.masked_fill(self._same(place), nothing)

    def exponentials(self, place: "Place", anchors: Tensor, keys: Tensor) -> Tensor:
        """Return the terms (a, k) of a tile if these are exponentials, with 0 for pairs of one sample."""
        terms = (anchors[place.anchors] * self.scale @ keys[place.keys].T).exp_()
        return terms if place.strangers else terms.masked_fill_(self._same(place), 0.0)

    def _same(self, place: "Place") -> Tensor:
        return left_out(self.anchor_samples[place.anchors], self.key_samples[place.keys], self.within)


def left_out(anchors: Tensor, keys: Tensor, within: int) -> Tensor:
    """Return which pairs (a, k) are not negatives: those whose numbers (a,) and (k,) differ by at most `within`."""
    if not within:
        return anchors[:, None] == keys
    return (anchors[:, None] - keys).abs_() <= within


class Place(NamedTuple):
    """The place of a tile.

    Attributes:
        anchors: Place of its anchors.
        keys: Place of its keys.
        twice: Whether it also represents its mirror image.
        strangers: Whether it is known to hold no pair of one sample, as is the case for most tiles.
    """

    anchors: slice
    keys: slice
    twice: bool
    strangers: bool


def _ranges(samples: Tensor, size: int, wanted: bool) -> Iterator[tuple[slice, tuple[float, float]]]:
    """Yield runs of samples, and the range of their numbers; any range, if a device would have to be waited for."""
    for span in spans(len(samples), size):
        low, high = (-torch.inf, torch.inf)
        if wanted and samples.device.type == "cpu":
            low, high = (int(bound) for bound in samples[span].aminmax())
        yield span, (low, high)


def fold(plan: Fold, anchors: Tensor, keys: Tensor, rows: Mapping[str, Tensor]) -> Tensor:
    """Sum over the keys of each anchor.

    Args:
        plan: Definition of the sum.
        anchors: Anchors (A, D), float32 or wider.
        keys: Keys (K, D) of the same type; the anchors themselves, if the plan is mirrored.
        rows: Name -> (A,), passed to `plan.values` for one tile at a time. Gradients reach them.

    Returns:
        Sums (A,), or their logarithms (-inf for an anchor without keys).
    """
    found: Tensor = _Fold.apply(plan, tuple(rows), anchors, keys, *rows.values())
    return found


def _columns(names: Sequence[str], rows: Sequence[Tensor]) -> dict[str, Tensor]:
    return {name: row[:, None] for name, row in zip(names, rows, strict=True)}


class _Fold(torch.autograd.Function):
    """The differentiable form of `fold`."""

    @staticmethod
    def forward(ctx: Any, plan: Fold, names: tuple[str, ...], anchors: Tensor, keys: Tensor, *rows: Tensor) -> Tensor:
        nothing = -torch.inf if plan.logarithmic else 0.0
        sums, terms = anchors.new_full((len(anchors),), nothing), None
        for place in plan.places():
            if plan.values is None:
                values = terms = plan.exponentials(place, anchors, keys)
            else:
                a, k = anchors[place.anchors], keys[place.keys]
                columns = _columns(names, [row[place.anchors] for row in rows])
                values = plan.values(Tile(a @ k.T, place.anchors, place.keys, columns))
                values = plan.left_out(values, place, nothing)
            _add(plan, sums[place.anchors], values, dim=1)
            if place.twice:
                _add(plan, sums[place.keys], values, dim=0)
        ctx.plan, ctx.names = plan, names
        single = max(len(anchors), len(keys)) <= plan.edge  # a single tile is kept
        ctx.save_for_backward(anchors, keys, sums if plan.logarithmic else None, terms if single else None, *rows)
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        anchors, keys, sums, terms, *rows = ctx.saved_tensors
        needed = ctx.needs_input_grad[2:]
        inputs = [anchors, keys, *rows]
        gradients = [torch.zeros_like(one) if need else None for one, need in zip(inputs, needed, strict=True)]
        if ctx.plan.mirrored:
            gradients[1] = None  # they are the anchors
        if sums is not None:
            sums = sums.masked_fill(sums == -torch.inf, 0.0)  # no key, no gradient: exp(-inf - 0) is 0
        backward = _Backward(ctx.plan, ctx.names, inputs, gradients, gradient, sums)
        for place in ctx.plan.places():
            backward.tile(place, terms)
        return (None, None, *gradients)


def _add(plan: Fold, sums: Tensor, values: Tensor, dim: int) -> None:
    """Add values (a, k), summed over a dimension, to a view of the sums."""
    if plan.logarithmic:
        torch.logaddexp(sums, values.logsumexp(dim), out=sums)
    else:
        sums += values.sum(dim)


class _Backward:
    """The sum of the gradients of one tile after another.

    Args:
        plan: Definition of the sum.
        names: Names of the rows.
        inputs: Anchors, keys and rows.
        gradients: Sum of the gradients of each input; None if it is not wanted.
        gradient: Gradients (A,) of the sums.
        sums: Logarithms (A,) of the sums, if values are logarithms.
    """

    def __init__(
        self,
        plan: Fold,
        names: Sequence[str],
        inputs: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
        gradient: Tensor,
        sums: Tensor | None,
    ):
        self._plan, self._names = plan, names
        self._anchors, self._keys = inputs[:2]
        self._rows = inputs[2:]
        self._of_anchors, self._of_keys = gradients[:2]
        self._of_rows = gradients[2:]
        self._gradient, self._sums = gradient, sums

    def tile(self, place: Place, terms: Tensor | None) -> None:
        """Add the gradient of a tile, whose terms may be known if they are exponentials."""
        a, k = self._anchors[place.anchors], self._keys[place.keys]
        if self._plan.values is None:
            if terms is None:
                terms = self._plan.exponentials(place, self._anchors, self._keys)
            change = self._of_values(place, terms) * self._plan.scale * terms
        else:
            change = self._chain(place, (a @ k.T).requires_grad_())
        if self._of_anchors is not None:
            self._of_anchors[place.anchors].addmm_(change, k)
            if place.twice:
                self._of_anchors[place.keys].addmm_(change.T, a)
        if self._of_keys is not None:
            self._of_keys[place.keys].addmm_(change.T, a)

    def _chain(self, place: Place, similarities: Tensor) -> Tensor:
        """Return the gradient of a tile's similarities through its values; those of rows are added on the way."""
        assert self._plan.values is not None
        rows = [row[place.anchors].detach().requires_grad_() for row in self._rows]
        with torch.enable_grad():
            values = self._plan.values(Tile(similarities, place.anchors, place.keys, _columns(self._names, rows)))
        change = self._of_values(place, values.detach()).expand_as(values)
        of_similarities, *of_rows = torch.autograd.grad(
            values,
            [similarities, *rows],
            self._plan.left_out(change, place, 0.0),
            allow_unused=True,
            materialize_grads=True,
        )
        for total, part in zip(self._of_rows, of_rows, strict=True):
            if total is not None:
                total[place.anchors] += part
        return of_similarities

    def _of_values(self, place: Place, values: Tensor) -> Tensor:
        """Return the gradient of a tile's values in the sums of rows and of columns: (a, k), or what expands to it."""
        change = self._in_sums(values, place.anchors, dim=1)
        return change + self._in_sums(values, place.keys, dim=0) if self._plan.mirrored else change

    def _in_sums(self, values: Tensor, place: slice, dim: int) -> Tensor:
        """Return the gradient of a tile's values in the sums over one dimension, which are at a place."""
        gradient = self._gradient[place].unsqueeze(dim)
        if self._sums is None:
            return gradient
        return (values - self._sums[place].unsqueeze(dim)).exp_().mul_(gradient)
