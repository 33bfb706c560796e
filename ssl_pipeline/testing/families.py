"""Families of losses: the plainest loss of each, and how a loss of it is tried.

A further family has a line in `FAMILIES`; no check asks which family a loss is of.
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
"""The length of the projections on which losses are tried."""
_IMAGES = 12


@dataclass(frozen=True)
class Family:
    """How losses of a family are tried.

    Attributes:
        plain: A function that returns the plainest loss of the family, for tasks to be tried with.
        task: A function from an encoder and a loss to the plainest task that trains with it.
        of_views: A function from a loss and two views (N, D) of N images to the loss of these images.
        views: A function that returns two views (N, D), all different, such that any of them may be made equal.
    """

    plain: Callable[[], Objective]
    task: Callable[[Encoder, Any], PretextTask]
    of_views: Callable[[Any, Tensor, Tensor], Tensor]
    views: Callable[[], tuple[Tensor, Tensor]]


def family_of(kind: type) -> type | None:
    """Return the family that a loss of some class is of; None where it is none that can be tried."""
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
    """Return views whose cosine is exactly 1 where they are equal."""
    signs = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 4)[:8]  # none are opposite
    return torch.cat([signs, 0 * signs], dim=1), torch.cat([0 * signs, signs], dim=1)


def _without_constant_dimensions() -> tuple[Tensor, Tensor]:
    """Return views of which no dimension is constant before all of them are equal."""
    return unit_vectors(_IMAGES, DIM, 0), unit_vectors(_IMAGES, DIM, 1)


FAMILIES: dict[type, Family] = {
    Loss: Family(Plain, lambda encoder, loss: Pairs(encoder, loss, InBatch()), _of_pairs, _with_cosines_of_exactly_1),
    ViewLoss: Family(PlainViews, Agreement, _of_whole_views, _without_constant_dimensions),
    TaughtLoss: Family(PlainTaught, Taught, _of_taught, _without_constant_dimensions),
}
"""The base class of a family -> how its losses are tried."""
