"""Truncated triplet: a deputy stands for all negatives, and it is not the hardest, which may be of one's own class.

The hardest negatives are the likeliest false ones, and pushing them away splits a class (over-clustering); averaging
over all of them lets easy ones drown the rest, and merges classes (under-clustering). The deputy is the negative of
rank k, or the mean over a band of ranks.

With C equally frequent classes each negative is a false one with probability 1/C, so that among n of them the number of
false ones is binomial. If they were the nearest of all, a deputy of rank k would be false where there are at least k.

Source: Wang et al. 2021 (2104.08760), section 3.2.
"""

from collections.abc import Mapping

from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.diagnosis import few_negatives, wide_margin
from ssl_pipeline.contrast.ranking import RankRule, mean_of_ranks
from ssl_pipeline.contrast.similarity import cosines, total_weight
from ssl_pipeline.types import Loss, Negatives, Register, StepOutput, Trait

_RANKS = "it goes by the ranks of negatives, on which weights have no say"


class TruncatedTriplet(Loss):
    """Mean of [s⁻ - s⁺ + m]₊, with s the cosine and s⁻ that of the deputy.

    Args:
        margin: m in (0, 2).
        rank: The deputy's rank among the negatives, 1 being the nearest; give this or the next two.
        classes: How many classes there are, or a guess.
        false_negative_probability: Of the deputy, in (0, 1); the smallest rank that keeps it is taken.
        band: How many ranks, from the deputy's on, are averaged.
    """

    energy_name = "cosine_distance"
    refuses: Mapping[Trait, str] = {"weighted": _RANKS, "debiased": _RANKS}

    def __init__(
        self,
        margin: float,
        rank: int | None = None,
        classes: int | None = None,
        false_negative_probability: float | None = None,
        band: int = 1,
    ):
        super().__init__()
        if not 0 < margin < 2:
            raise ValueError(f"margin must lie between 0 and 2, the largest cosine distance; got {margin}")
        if band < 1:
            raise ValueError(f"band must be at least 1, got {band}")
        self._rule = RankRule(rank, classes, false_negative_probability)
        self.margin, self.band = margin, band

    def rank(self, count: int) -> int:
        """The deputy's rank among that many negatives; the last one where there are fewer."""
        return self._rule.of(count)

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives) -> StepOutput:
        """Mean loss over anchors (A, D) with positives (A, M, D), all unit-norm."""
        weight = total_weight(anchors, negatives)
        rank = self.rank(int(weight.min()))
        deputies = mean_of_ranks(anchors, negatives, rank, rank + self.band - 1)  # (A, D)
        negative = cosines(anchors, deputies[:, None])  # (A, 1)
        violation = negative - cosines(anchors, positives) + self.margin  # (A, M)
        violation = violation.masked_fill(weight[:, None] == 0, 0.0)
        figures = {
            "active_share": (violation > 0).to(violation.dtype).mean(),
            "deputy_rank": violation.new_tensor(float(rank)),
            "deputy_cosine": negative.mean(),
            "negatives": weight.mean(),
        }
        return StepOutput(F.relu(violation).mean(), {name: value.detach() for name, value in figures.items()})

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """1 - cos."""
        return 1 - (first * second).sum(dim=1)

    def diagnose(self, figures: Mapping[str, float]) -> list[str]:
        """Too few negatives, a deputy that is the last of them, a margin that is too large."""
        troubles = few_negatives(figures)
        if not troubles and figures["deputy_rank"] >= figures["negatives"]:
            troubles.append(
                f"the deputy is the farthest of {figures['negatives']:.0f} negatives, which teaches nothing. "
                "Lower pretrain.loss: {rank: ...}, raise {classes: ...}, or raise pretrain.batch_size."
            )
        return troubles or wide_margin(figures["active_share"], self.margin)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `truncated_triplet`."""
    register("truncated_triplet", TruncatedTriplet)
