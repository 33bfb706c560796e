"""Families of losses: the simplest loss of each family, and how its losses are tested.

To add a family, add a line to `FAMILIES`; no check depends on the family of a loss.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssl_pipeline.testing.material import InBatch, Plain, PlainTaught, PlainViews, make_step, unit_vectors
from ssl_pipeline.testing.plain_tasks import Agreement, Pairs, Taught
from ssl_pipeline.types import Encoder, Loss, Negatives, Objective, PretextTask, TaughtLoss, ViewLoss

__all__ = ["DIM", "FAMILIES", "Family", "family_of"]

DIM = 8
"""Length of the projections that losses are tested on."""
_IMAGES = 12


@dataclass(frozen=True)
class Family:
    """The means of testing the losses of a family.

    Attributes:
        plain: Function that returns the simplest loss of the family, to test tasks with.
        task: Function from an encoder and a loss to the simplest task that trains with it.
        of_views: Function from a loss and two views (N, D) of N images to the loss of these images.
        views: Function that returns two views (N, D) whose vectors all differ, and any of which a test may make equal.
    """

    plain: Callable[[], Objective]
    task: Callable[[Encoder, Any], PretextTask]
    of_views: Callable[[Any, Tensor, Tensor], Tensor]
    views: Callable[[], tuple[Tensor, Tensor]]


def family_of(kind: type) -> type | None:
    """Return the family of a class of losses; None if the kit cannot test it."""
    return next((base for base in FAMILIES if issubclass(kind, base)), None)


def _of_pairs(loss: Loss, first: Tensor, second: Tensor) -> Tensor:
    samples = torch.arange(len(first))
    negatives = Negatives(torch.cat([first, second]), samples, samples.repeat(2))
    value: Tensor = loss(first, second[:, None], negatives, make_step(len(first))).loss
    return value


def _of_whole_views(loss: ViewLoss, first: Tensor, second: Tensor) -> Tensor:
    views = torch.stack([first, second])
    value: Tensor = loss(views, views, make_step(len(first))).loss
    return value


def _of_taught(loss: TaughtLoss, first: Tensor, second: Tensor) -> Tensor:
    value: Tensor = loss(first[None], second[None], make_step(len(first))).loss
    return value


def _with_cosines_of_exactly_1() -> tuple[Tensor, Tensor]:
    """Return views whose cosine is exactly 1 if they are equal."""
    signs = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 4)[:8]  # no two of them are opposite
    return torch.cat([signs, 0 * signs], dim=1), torch.cat([0 * signs, signs], dim=1)


def _without_constant_dimensions() -> tuple[Tensor, Tensor]:
    """Return views without constant dimensions, unless all of them are made equal."""
    return unit_vectors(_IMAGES, DIM, 0), unit_vectors(_IMAGES, DIM, 1)


FAMILIES: dict[type, Family] = {
    Loss: Family(Plain, lambda encoder, loss: Pairs(encoder, loss, InBatch()), _of_pairs, _with_cosines_of_exactly_1),
    ViewLoss: Family(PlainViews, Agreement, _of_whole_views, _without_constant_dimensions),
    TaughtLoss: Family(PlainTaught, Taught, _of_taught, _without_constant_dimensions),
}
"""Base class of a family -> the means of testing its losses."""
