"""Truncated triplet: a deputy represents all negatives; it is not the hardest, which may be of the anchor's class.

The hardest negatives are the most likely to be false, and pushing them away splits classes (over-clustering). In an
average over all negatives, easy ones drown out the rest, which merges classes (under-clustering). The deputy is the
negative of rank k, or the mean over a band of ranks.

With C equally frequent classes, any other image is of the anchor's class with probability 1/C, and all of its keys are
then false negatives. The number of such images among n is therefore binomial. If their keys were always the nearest, a
deputy of rank k would be false whenever there are at least k of them.

Source: Wang et al. 2021 (2104.08760), section 3.2, with the distances and the factor of the authors' code
(github.com/wanggrun/triplet, triplet_loss_head.py). That code uses |x - y|² - 2 as the distance, so its margin of
100 corresponds to 98 here.
"""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.distance import DISTANCES
from ssl_pipeline.contrast.ranking import RankRule, mean_of_ranks
from ssl_pipeline.contrast.similarity import cosines, total_weight
from ssl_pipeline.health.negatives import wide_margin
from ssl_pipeline.types import Finding, Loss, Negatives, Register, Step, StepOutput, Trait

_SQUARED_EUCLIDEAN = DISTANCES["squared_euclidean"]
_GOES_BY_RANKS = "it selects negatives by rank, which weights do not affect"


class TruncatedTriplet(Loss):
    """Mean of [m + γ d⁺ - d⁻]₊, with d = |x - y|², in [0, 4], and d⁻ the distance to the deputy.

    Args:
        margin: Margin, m > 0. From 4 on, every triplet always has a gradient, as the authors intend. Below 4, a triplet
            has none once its deputy is far enough.
        rank: Rank of the deputy among the negatives; 1 is the nearest. Set either this or the next two options.
        classes: Number of classes, or an estimate.
        false_negative_probability: Largest probability, in (0, 1), that the deputy is a false negative. The smallest
            rank that satisfies it is used.
        band: Number of ranks that are averaged, starting at the deputy's, at least 1.
        positive_weight: Weight of the distance to the positive, γ > 0; the authors use 2.
    """

    energy_name = "squared_euclidean_distance"
    refuses: Mapping[Trait, str] = {"weighted": _GOES_BY_RANKS, "debiased": _GOES_BY_RANKS}

    def __init__(
        self,
        *,
        margin: float,
        rank: int | None = None,
        classes: int | None = None,
        false_negative_probability: float | None = None,
        band: int = 1,
        positive_weight: float = 2.0,
    ):
        super().__init__()
        if min(margin, positive_weight) <= 0:
            raise ValueError(
                f"margin and positive_weight must be greater than 0, got {margin:g} and {positive_weight:g}"
            )
        if band < 1:
            raise ValueError(f"band must be at least 1, got {band}")
        self._rule = RankRule(rank, classes, false_negative_probability)
        self.margin, self.band, self.positive_weight = margin, band, positive_weight

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss over anchors (A, D) with positives (A, M, D), all unit-norm."""
        weight = total_weight(anchors, negatives)
        rank = self._rule.of(anchors, negatives)
        deputies = mean_of_ranks(anchors, negatives, rank, rank + self.band - 1)  # (A, D)
        negative = cosines(anchors, deputies[:, None])  # (A, 1)
        distance = _SQUARED_EUCLIDEAN.of_cosine
        violation = self.margin + self.positive_weight * distance(cosines(anchors, positives)) - distance(negative)
        violation = violation.masked_fill(weight[:, None] == 0, 0.0)
        figures = {
            "active_share": (violation > 0).to(violation.dtype).mean(),
            "too_near_share": (distance(negative) < self.margin).to(violation.dtype).mean(),  # for any positive
            "deputy_rank": violation.new_full((), rank),
            "deputy_cosine": negative.mean(),
            "negatives": weight.mean(),
        }
        return StepOutput(F.relu(violation).mean(), {name: value.detach() for name, value in figures.items()})

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return |x - y|² (N,)."""
        return _SQUARED_EUCLIDEAN.of_cosine((first * second).sum(dim=1))

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report a deputy that is the farthest negative, or a margin that is too large."""
        troubles = []
        if figures["deputy_rank"] >= figures["negatives"]:
            troubles.append(
                Finding(
                    "deputy too far",
                    f"the deputy is the farthest of {figures['negatives']:.0f} negatives, which teaches nothing. "
                    "Lower pretrain.loss: {rank: ...}, raise {classes: ...}, or raise pretrain.batch_size.",
                )
            )
        if self.margin >= _SQUARED_EUCLIDEAN.largest:
            return troubles  # every triplet is meant to violate it
        return troubles or wide_margin(figures["too_near_share"], self.margin)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `truncated_triplet`."""
    register("truncated_triplet", TruncatedTriplet)
