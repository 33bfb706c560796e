"""Margin triplet: the positive should be nearer than each negative, by a margin.

Source: Schroff et al. 2015 (FaceNet, 1503.03832), equation 3, which sums over triplets; the soft margin: Hermans et al.
2017 (1703.07737). Here each anchor has the same weight, however many negatives a strategy leaves it. A sum would be
dominated by the anchors with the most negatives, and would grow with the batch.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.distance import DISTANCES, Distance
from ssl_pipeline.contrast.similarity import cosines, negative_sum, total_weight
from ssl_pipeline.health.negatives import wide_margin
from ssl_pipeline.types import Finding, Loss, Negatives, Register, Step, StepOutput

_MAX_DISTANCE_FROM_MARGIN = (
    0.02  # share of the margin; a loss this close to the margin means that positives and negatives are equally far
)


class Triplet(Loss):
    """Mean of [d⁺ - d⁻ + m]₊, or of its softplus, over the negatives that the strategy keeps, then over anchors.

    Args:
        margin: Margin m, in units of the distance. Unless `soft` is set, it lies between 0 and the largest distance.
        distance: Name of the distance: squared_euclidean, in [0, 4] for unit vectors, or cosine (1 - cos), in [0, 2].
        soft: Whether softplus replaces the hinge, so that every triplet always has a gradient.
    """

    needs_many_negatives = False  # it also learns from a single negative per anchor

    def __init__(
        self, *, margin: float, distance: Literal["squared_euclidean", "cosine"] = "cosine", soft: bool = False
    ):
        super().__init__()
        self._distance: Distance = DISTANCES[distance]
        if not soft and not 0 < margin < self._distance.largest:
            raise ValueError(
                f"margin must lie between 0 and {self._distance.largest:g}, the largest {distance} distance of unit "
                f"vectors; got {margin}"
            )
        self.margin, self.soft = margin, soft
        self.energy_name = f"{distance}_distance"

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss over anchors (A, D) that have negatives, with positives (A, M, D); 0 if none has."""
        distance = self._distance.of_cosine
        cosine = cosines(anchors, positives)  # (A, M)
        hinge: Callable[[Tensor], Tensor] = F.softplus if self.soft else F.relu

        def violation(negative: Tensor, positive: Tensor) -> Tensor:
            return distance(positive) - distance(negative) + self.margin

        weight = total_weight(anchors, negatives)
        kept = weight > 0
        of_anchors = []
        for positive in cosine.unbind(dim=1):
            sums = negative_sum(
                anchors, negatives, lambda s, p: hinge(violation(s, p)), (positive,), positives=positive[:, None]
            )
            of_anchors.append((sums / weight.clamp(min=1e-12)).where(kept, 0.0))
        loss = torch.cat(of_anchors).sum() / (len(of_anchors) * kept.sum()).clamp(min=1)
        if not step.measured:
            return StepOutput(loss, {})
        everyone = replace(negatives, log_weight=None, rows={}, class_prior=0.0)
        figures = {
            "active_share": self._violating(anchors, cosine[:, 0], replace(negatives, class_prior=0.0), violation),
            "violating_share": self._violating(anchors, cosine[:, 0], everyone, violation),
            "loss_over_margin": loss.detach() / self.margin if not self.soft else torch.zeros_like(loss.detach()),
            "negatives": weight.mean(),
        }
        return StepOutput(loss, figures)

    @staticmethod
    @torch.no_grad()
    def _violating(
        anchors: Tensor, positive: Tensor, negatives: Negatives, violation: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Return the share of an anchor's triplets that violate the margin, averaged over anchors that have any."""
        weight = total_weight(anchors, negatives)
        found = negative_sum(anchors, negatives, lambda s, p: (violation(s, p) > 0).to(s.dtype), (positive,))
        return (found / weight)[weight > 0].mean().nan_to_num(0.0)

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distances (N,)."""
        return self._distance.of_cosine((first * second).sum(dim=1))

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report a loss that is stuck at the margin, a margin that is too large, or no active triplet."""
        if self.soft or figures["negatives"] == 0:
            return []
        if abs(figures["loss_over_margin"] - 1) < _MAX_DISTANCE_FROM_MARGIN:
            return [
                Finding(
                    "loss stuck at the margin",
                    f"the loss is stuck at the margin ({self.margin:g}): positives are as far away as negatives, "
                    "which happens when all embeddings are alike. Lower pretrain.optimizer.learning_rate, or use "
                    "pretrain.negatives: {name: semi_hard}.",
                )
            ]
        return wide_margin(figures["violating_share"], self.margin)  # of all: a strategy may keep only violations


@hookimpl
def register_losses(register: Register) -> None:
    """Add `triplet`."""
    register("triplet", Triplet)
