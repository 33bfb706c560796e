"""Progressive resolution: a run begins on small views, whose cost is proportional to their area, and ends at full size.

At first, a network learns features that are visible in small views as well. The end of the run adapts its weights and
the statistics of its batch norms to views of the size at which it is exported. Sources: Tan and Le 2021
(EfficientNetV2, 2104.00298, section 4), who begin with small images; Touvron et al. 2019 (1906.06423) on the size at
test time.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BeforeValidator

__all__ = ["FULL_SIZE", "Resolution", "in_words", "is_full_size", "relative_cost"]

FULL_SIZE = ((0.0, 1.0),)
"""Schedule with views of full size throughout."""

_WRITE = "write resolution: [[0, 0.5], [0.6, 0.75], [0.85, 1.0]], or [[0, 1.0]] for full size throughout"


def _checked(value: Any) -> Any:
    """Refuse an invalid schedule, with a message that says what to write."""
    pairs = list(value) if isinstance(value, list | tuple) else []
    if not pairs or not all(_is_pair(pair) for pair in pairs):
        raise ValueError(f"must be pairs of numbers, a share of the run and a share of the views' side: {_WRITE}")
    begins, sides = zip(*pairs, strict=True)
    if begins[0] != 0:
        raise ValueError(f"the first pair must begin at 0, the start of the run: {_WRITE}")
    for before, begin in pairwise(begins):
        if not before < begin < 1:
            raise ValueError(f"the shares of the run must increase and be less than 1: {_WRITE}")
    if not all(0 < side <= 1 for side in sides):
        raise ValueError(f"the shares of the side must be greater than 0 and at most 1: {_WRITE}")
    if sides[-1] != 1:
        raise ValueError(
            f"the last share of the side must be 1, because the encoder is exported at full size: {_WRITE}"
        )
    return value


def _is_pair(pair: Any) -> bool:
    return (
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(isinstance(number, int | float) and not isinstance(number, bool) for number in pair)
    )


Resolution = Annotated[tuple[tuple[float, float], ...], BeforeValidator(_checked)]
"""Pairs, in the order of time, of the share of the run at which a size begins and its share of the full side."""


def is_full_size(resolution: Resolution) -> bool:
    """Return whether views have full size throughout."""
    return all(share == 1 for _, share in resolution)


def relative_cost(resolution: Resolution) -> float:
    """Return the area of all views of a run as a share of their area at full size, in (0, 1].

    Examples:
        >>> round(relative_cost(((0.0, 0.5), (0.6, 0.75), (0.85, 1.0))), 4)
        0.4406
    """
    ends = [begin for begin, _ in resolution[1:]] + [1.0]
    return sum((end - begin) * share**2 for (begin, share), end in zip(resolution, ends, strict=True))


def in_words(sides: Sequence[tuple[float, int]]) -> str:
    """Return a phrase that says at which point each size begins.

    Args:
        sides: Pairs of a share of the run and a side in px, in the order of time.

    Examples:
        >>> in_words([(0.0, 8), (0.6, 12), (0.85, 16)])
        'views of 8 px, from 60% of the run on 12 px, from 85% of the run on 16 px'
    """
    (_, first), *later = sides
    parts = [f"from {100 * begin:.3g}% of the run on {side} px" for begin, side in later]
    return ", ".join([f"views of {first} px", *parts])
