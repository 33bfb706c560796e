"""From outcomes to sentences: means, paired differences, their intervals, and what can be said of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.draws import Budget
from ssl_pipeline.evaluation.label_budgets import ARMS, Arm, Outcome

__all__ = ["Estimate", "Verdict", "estimate", "judge", "metrics", "overall", "sentence"]


@dataclass(frozen=True)
class Estimate:
    """A mean and the half width of its 95 % interval."""

    mean: float
    margin: float

    @property
    def sign(self) -> int:
        """1 if the whole interval is above 0, -1 if it is below, 0 if it holds 0."""
        return int(np.sign(self.mean)) if abs(self.mean) > self.margin else 0


@dataclass(frozen=True)
class Verdict:
    """What one budget showed.

    Attributes:
        budget: Labels a class.
        images: Labelled images learned from.
        draws: How many draws of labels.
        accuracy: Arm -> mean over draws.
        balanced_accuracy: Arm -> mean over draws.
        chosen: Arm -> learning rate, or the probe's strength.
        over_scratch: Paired difference in accuracy, fine-tuned minus from scratch.
        over_probe: Likewise, fine-tuned minus frozen probe.
    """

    budget: Budget
    images: int
    draws: int
    accuracy: dict[Arm, Estimate]
    balanced_accuracy: dict[Arm, float]
    chosen: dict[Arm, float]
    over_scratch: Estimate
    over_probe: Estimate


def estimate(scores: npt.NDArray[np.floating[Any] | np.integer[Any]]) -> Estimate:
    """Mean over draws of labels and over test images, with a 95 % interval that allows for either being drawn anew.

    Other labels would have given another figure, and so would other test images. The two variances of the mean add up,
    each estimated from its own margin of the table; Welch and Satterthwaite's degrees of freedom give the t quantile.
    Over draws alone, an interval at the largest budget, where all draws hold the same labels, would be next to nothing.

    Args:
        scores: (draws, images), at least 2 x 2: 1 for an image told right, 0 for another, or differences of such.

    Returns:
        Estimate in the units of the scores.

    Source: for means of crossed samples, Owen 2007 (0712.1111).
    """
    from scipy.stats import t

    means = [scores.mean(axis=axis) for axis in (1, 0)]
    variances = np.array([values.var(ddof=1) / len(values) for values in means])
    freedom = np.array([len(values) - 1 for values in means])
    if not variances.any():
        return Estimate(float(scores.mean()), 0.0)
    effective = variances.sum() ** 2 / (variances**2 / freedom).sum()
    return Estimate(float(scores.mean()), float(t.ppf(0.975, effective) * np.sqrt(variances.sum())))


def judge(outcomes: Sequence[Outcome]) -> list[Verdict]:
    """One verdict for each budget, in the order in which they come."""
    verdicts = []
    for budget in dict.fromkeys(outcome.budget for outcome in outcomes):
        of = {arm: [one for one in outcomes if (one.budget, one.arm) == (budget, arm)] for arm in ARMS}
        correct = {arm: np.stack([one.correct for one in of[arm]]).astype(np.int64) for arm in ARMS}  # (draws, images)
        verdicts.append(
            Verdict(
                budget=budget,
                images=of["finetune"][0].images,
                draws=len(of["finetune"]),
                accuracy={arm: estimate(correct[arm]) for arm in ARMS},
                balanced_accuracy={arm: float(np.mean([one.balanced_accuracy for one in of[arm]])) for arm in ARMS},
                chosen={arm: of[arm][0].chosen for arm in ARMS},
                over_scratch=estimate(correct["finetune"] - correct["scratch"]),
                over_probe=estimate(correct["finetune"] - correct["probe"]),
            )
        )
    return verdicts


_FINDINGS = {1: "pretraining helped", 0: "no clear difference", -1: "it hurt"}


def sentence(verdict: Verdict) -> str:
    """One plain line on one budget."""
    tuned, probe, scratch = (_percent(verdict.accuracy[arm]) for arm in ("finetune", "probe", "scratch"))
    gain = verdict.over_scratch
    return (
        f"With {_labels(verdict.budget)}: {tuned} against {scratch} from scratch "
        f"(difference {100 * gain.mean:+.1f} ± {100 * gain.margin:.1f}): {_FINDINGS[gain.sign]}. Frozen probe: {probe}."
    )


def overall(verdicts: Sequence[Verdict]) -> str:
    """One plain line on all budgets."""
    phrases = {1: "helped", 0: "made no clear difference", -1: "hurt"}
    found = {sign: [one for one in verdicts if one.over_scratch.sign == sign] for sign in phrases}
    if not found[1] and not found[-1]:
        return "Pretraining did not help: no clear difference from training from scratch with any number of labels."
    parts = [f"{phrases[sign]} {_at(group)}" for sign, group in sorted(found.items(), reverse=True) if group]
    if found[1]:
        return f"Pretraining {', '.join(parts)}."
    return f"Pretraining did not help: it {', '.join(reversed(parts))}."


def metrics(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The verdicts as nested figures, for `dvc metrics show`."""
    return {
        "labelled": True,
        "budgets": {
            str(verdict.budget): {
                "images": verdict.images,
                **{
                    arm: {
                        "accuracy": verdict.accuracy[arm].mean,
                        "margin": verdict.accuracy[arm].margin,
                        "balanced_accuracy": verdict.balanced_accuracy[arm],
                        "strength" if arm == "probe" else "learning_rate": verdict.chosen[arm],
                    }
                    for arm in ARMS
                },
                "over_scratch": {"difference": verdict.over_scratch.mean, "margin": verdict.over_scratch.margin},
                "over_probe": {"difference": verdict.over_probe.mean, "margin": verdict.over_probe.margin},
            }
            for verdict in verdicts
        },
    }


def _labels(budget: Budget) -> str:
    return "all labels" if budget == "all" else f"{budget} label{'s' * (budget > 1)} per class"


def _at(verdicts: Sequence[Verdict]) -> str:
    counts = [str(verdict.budget) for verdict in verdicts if verdict.budget != "all"]
    named = [f"{' and '.join(counts)} label{'s' * (counts != ['1'])} per class"] if counts else []
    return "with " + " and ".join(named + ["all labels"] * (len(counts) < len(verdicts)))


def _percent(value: Estimate) -> str:
    return f"{100 * value.mean:.1f} ± {100 * value.margin:.1f} %"
