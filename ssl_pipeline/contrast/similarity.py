"""The parts of losses with negatives: similarities of anchors to positives, and sums over their negatives.

Sums are computed tile by tile (`ssl_pipeline.contrast.fold`), in float32 or wider, whatever the type of embeddings.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ssl_pipeline.contrast.fold import Fold, edge, fold, numbers
from ssl_pipeline.types import Negatives, Tile

__all__ = ["cosines", "log_mass", "negative_sum", "total_weight", "widened"]

_SAFE_EXPONENT = 40.0  # e^±40, and sums of 10¹⁰ of them, are far within float32's range: no maximum need be subtracted

Values = Callable[..., Tensor]
"""A function from similarities (a, k) and columns (a, 1) to values (a, k), element by element."""


def widened(values: Tensor) -> Tensor:
    """Convert half precision to float32, which sums of many exponentials need; leave wider types as they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def cosines(anchors: Tensor, positives: Tensor) -> Tensor:
    """Return similarities (A, M), at least float32, of anchors (A, D) to their own positives (A, M, D), all unit-norm.

    Examples:
        >>> cosines(torch.eye(2), torch.eye(2)[:, None])
        tensor([[1.],
                [1.]])
    """
    return torch.einsum("ad,amd->am", widened(anchors), widened(positives))


def log_mass(
    anchors: Tensor,
    negatives: Negatives,
    logits: float | Values,
    columns: Sequence[Tensor] = (),
    *,
    positives: Tensor | None = None,
) -> Tensor:
    """Return the log of the weighted sum of exponentials over an anchor's negatives.

    This is log sum_k w(a, k) exp(logit(a, k)), over the keys k of samples other than a's.

    Args:
        anchors: Anchors (A, D), unit-norm.
        negatives: Negatives: keys, the ids of their samples, and weights.
        logits: Inverse temperature, or an increasing function of similarities and of one column for each of `columns`.
        columns: Columns (A,); gradients reach them. Pass a learned temperature as `temperature.expand(A)`.
        positives: Logits (A, M) of positives, needed if `negatives.class_prior` is not 0: their share is subtracted,
            down to no less than what the least similar keys would give (Chuang et al. 2020, 2007.00224, equation 7).

    Returns:
        Logarithms (A,), at least float32; -inf for an anchor without negatives.

    Examples:
        >>> keys, ids = torch.eye(4), torch.tensor([7, 9, 7, 9])
        >>> log_mass(keys, Negatives(keys, ids, ids), 1 / 0.1).exp().round()  # two negatives each, at cosine 0
        tensor([2., 2., 2., 2.])
    """
    weight = negatives.log_weight
    if weight is None and not callable(logits) and abs(logits) <= _SAFE_EXPONENT:
        total = _fold(anchors, negatives, None, scale=logits, mirrored=True)
        none = total == 0
        mass = total.masked_fill(none, 1.0).log().masked_fill(none, -torch.inf)  # no key, no gradient
    else:
        function: Values = logits if callable(logits) else lambda similarities: similarities * logits
        names = _names(columns)

        def weighted(tile: Tile) -> Tensor:
            found = function(tile.similarities, *(tile.rows[name] for name in names))
            return found + (0.0 if weight is None else weight(tile))

        rows = dict(zip(names, columns, strict=True))
        mass = _fold(anchors, negatives, weighted, rows, logarithmic=True, mirrored=weight is None and not columns)
    if not negatives.class_prior:
        return mass
    assert positives is not None, "a class prior needs positives to subtract"
    least = logits(mass.new_full((), -1.0), *columns) if callable(logits) else mass.new_full((), -logits)
    total = total_weight(anchors, negatives).log()
    share = positives.logsumexp(dim=1) - math.log(positives.shape[1]) + total + math.log(negatives.class_prior)
    left = mass + torch.log1p(-torch.exp((share - mass).clamp(max=-1e-6)))  # the clamp keeps gradients finite
    return torch.where(
        share < mass, torch.maximum(left - math.log1p(-negatives.class_prior), total + least), total + least
    )


def negative_sum(
    anchors: Tensor,
    negatives: Negatives,
    terms: Values,
    columns: Sequence[Tensor] = (),
    *,
    positives: Tensor | None = None,
) -> Tensor:
    """Return the weighted sum of a function of similarities over an anchor's negatives: sum_k w(a, k) f(s(a, k)).

    Args:
        anchors: Anchors (A, D), unit-norm.
        negatives: Negatives: keys, the ids of their samples, and weights.
        terms: Function f >= 0 of similarities and of one column for each of `columns`.
        columns: Columns (A,); gradients reach them. Pass a learned number as `number.expand(A)`.
        positives: Similarities (A, M) of positives, needed if `negatives.class_prior` is not 0: the share of their
            terms is subtracted, down to no less than 0.

    Returns:
        Sums (A,), at least float32; 0 for an anchor without negatives.

    Examples:
        >>> keys, ids = torch.eye(3), torch.tensor([1, 2, 3])
        >>> negative_sum(keys, Negatives(keys, ids, ids), lambda similarities: (similarities + 0.5).clamp(min=0))
        tensor([1., 1., 1.])
    """
    weight = negatives.log_weight
    names = _names(columns)

    def weighted(tile: Tile) -> Tensor:
        found = terms(tile.similarities, *(tile.rows[name] for name in names))
        return found if weight is None else found * weight(tile).exp()

    mirrored = weight is None and not columns
    total = _fold(anchors, negatives, weighted, dict(zip(names, columns, strict=True)), mirrored=mirrored)
    if not negatives.class_prior:
        return total
    assert positives is not None, "a class prior needs positives to subtract"
    of_positives = terms(positives, *(column[:, None] for column in columns)).mean(dim=1)
    share = negatives.class_prior * total_weight(anchors, negatives) * of_positives
    return ((total - share) / (1 - negatives.class_prior)).clamp(min=0)


def _names(columns: Sequence[Tensor]) -> list[str]:
    return [f"column {number}" for number in range(len(columns))]


@torch.no_grad()
def total_weight(anchors: Tensor, negatives: Negatives) -> Tensor:
    """Return the sum (A,) of the weights of an anchor's negatives. If all weights are 1, this is their number."""
    weight = negatives.log_weight
    if weight is not None:
        return _fold(anchors, negatives, lambda tile: weight(tile).exp())
    wanted, asked, within = negatives.numbered()
    ordered, wanted = asked.sort().values, wanted.contiguous()
    own = torch.searchsorted(ordered, wanted + within, right=True) - torch.searchsorted(ordered, wanted - within)
    return (len(ordered) - own).to(widened(anchors).dtype)


def _fold(
    anchors: Tensor,
    negatives: Negatives,
    values: Callable[[Tile], Tensor] | None,
    columns: Mapping[str, Tensor] | None = None,
    *,
    logarithmic: bool = False,
    scale: float = 1.0,
    mirrored: bool = False,
) -> Tensor:
    """Sum over an anchor's negatives; `mirrored`: values depend on similarities only."""
    mirrored = mirrored and anchors is negatives.keys and negatives.anchor_samples is negatives.key_samples
    of_anchors, of_keys, within = negatives.numbered()
    side, longest = edge(anchors.device), max(len(of_anchors), len(of_keys))
    if not within and anchors.device.type == "cpu" and longest > side:
        of_anchors, of_keys = numbers(
            of_anchors, of_keys
        )  # other devices have few tiles, and would have to be waited for
    plan = Fold(of_anchors, of_keys, values, logarithmic, scale, mirrored, side, within)
    wide = widened(anchors)
    keys = wide if mirrored else widened(negatives.keys)
    return fold(plan, wide, keys, {**negatives.rows, **(columns or {})})
