"""Turn outcomes into verdicts: means, paired differences and their intervals, and sentences on what they show.

Pretraining `helped` if the fine-tuned encoder is better than random weights under otherwise equal conditions, and also
better than ordinary training from scratch. The first comparison shows that the gain comes from the weights, and not
from the head or the statistics; its interval allows for the luck of this encoder, so that it holds for any encoder that
is pretrained this way. The second comparison shows that this encoder is of practical use: random weights often suffer
from being treated like pretrained ones, and a gain over those alone helps nobody. Pretraining `hurt` if the encoder is
worse than random weights under otherwise equal conditions. If pretraining started from weights, these replace the
random ones.

Each budget has one p-value. For `helped` it is the larger of the two, the p-value of both being true (Berger 1982,
Technometrics 24(4)). The wording depends on it after Holm's correction over the budgets, so that the probability of a
false finding anywhere in the verdict is at most 5%.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.budgets.label_draws import Budget, in_words
from ssl_pipeline.evaluation.budgets.outcome import ARMS, Arm, Outcome
from ssl_pipeline.evaluation.statistics.estimates import Estimate, accuracy, gain, holm
from ssl_pipeline.evaluation.statistics.intervals import Interval
from ssl_pipeline.evaluation.statistics.proportions import LEVEL

__all__ = ["CONTROLS", "Verdict", "headline", "judge_budgets", "metrics", "overall", "sentence"]

CONTROLS: dict[Arm, str] = {"random": "random weights", "start": "its starting weights"}
"""Control arm, which differs from the fine-tuned arm in the weights alone -> its name in sentences."""

PRETRAINING = "pretraining"
"""Subject of a verdict if the encoder learned from the images."""

_FINDING_WORDS = {1: "helped", 0: "no clear difference", -1: "hurt"}


@dataclass(frozen=True)
class Verdict:
    """The result at one budget.

    Attributes:
        budget: Number of labels per class.
        images: Number of labelled training images.
        draws: Number of draws of labels.
        encoders: Number of pretrained encoders.
        accuracy: Arm -> mean accuracy over encoders and draws, with its interval.
        balanced_accuracy: Arm -> mean balanced accuracy over encoders and draws.
        chosen: Arm -> learning rate, or the probe's strength.
        gains: Other arm -> paired difference in accuracy, fine-tuned minus that arm.
        control: Arm that differs in the weights alone: random weights, or those that pretraining started from.
        p: The p-value of the finding, after Holm's correction over the budgets.
        finding: Sign of the effect: 1, pretraining helped; -1, pretraining hurt; 0, no clear difference.
    """

    budget: Budget
    images: int
    draws: int
    encoders: int
    accuracy: dict[Arm, Interval]
    balanced_accuracy: dict[Arm, float]
    chosen: dict[Arm, float]
    gains: dict[Arm, Estimate]
    control: Arm
    p: float
    finding: int


def judge_budgets(outcomes: Sequence[Outcome], groups: npt.NDArray[np.int64]) -> list[Verdict]:
    """Return one verdict per budget, in the order in which the budgets first occur.

    Args:
        outcomes: Outcomes of every budget, arm, encoder and draw.
        groups: Group numbers of the test images (n_test,), equal for images of one group.
    """
    budgets = list(dict.fromkeys(outcome.budget for outcome in outcomes))
    arms = [arm for arm in ARMS if any(outcome.arm == arm for outcome in outcomes)]
    control: Arm = "start" if "start" in arms else "random"
    gains: dict[Budget, dict[Arm, Estimate]] = {}
    chances = []
    for budget in budgets:
        correct = {arm: _correct(outcomes, budget, arm) for arm in arms}
        gains[budget] = {
            arm: gain(correct["finetune"] - correct[arm], groups, luck=arm == "random")
            for arm in arms
            if arm != "finetune"
        }
        chances.append(_chance(gains[budget][control], gains[budget]["scratch"]))
    verdicts = []
    for budget, p in zip(budgets, holm(chances), strict=True):
        outcomes_of = {arm: [one for one in outcomes if (one.budget, one.arm) == (budget, arm)] for arm in arms}
        tuned = outcomes_of["finetune"]
        verdicts.append(
            Verdict(
                budget=budget,
                images=tuned[0].images,
                draws=len({one.draw for one in tuned}),
                encoders=len({one.encoder for one in tuned}),
                accuracy={arm: accuracy(_correct(outcomes, budget, arm), groups) for arm in arms},
                balanced_accuracy={
                    arm: float(np.mean([one.balanced_accuracy for one in outcomes_of[arm]])) for arm in arms
                },
                chosen={arm: outcomes_of[arm][0].chosen for arm in arms},
                gains=gains[budget],
                control=control,
                p=p,
                finding=int(np.sign(gains[budget][control].mean)) if p < 1 - LEVEL else 0,
            )
        )
    return verdicts


def _correct(outcomes: Sequence[Outcome], budget: Budget, arm: Arm) -> npt.NDArray[np.int64]:
    """Return which test images an arm classified correctly, (encoders, draws, images); other arms have one encoder."""
    matching = [outcome for outcome in outcomes if (outcome.budget, outcome.arm) == (budget, arm)]
    encoders = len({outcome.encoder for outcome in matching})
    ordered = sorted(matching, key=lambda outcome: (outcome.encoder, outcome.draw))
    correct = np.stack([outcome.correct for outcome in ordered]).astype(np.int64)
    return correct.reshape(encoders, len(matching) // encoders, -1)


def _chance(over_control: Estimate, over_scratch: Estimate) -> float:
    """Return the p-value of the effect at one budget, before correction."""
    if over_control.mean < 0:
        return over_control.p
    return max(over_control.p, over_scratch.p if over_scratch.mean > 0 else 1.0)


def sentence(verdict: Verdict, judged: str = PRETRAINING) -> str:
    """Return a sentence on one budget, and the accuracy of the frozen probe.

    Args:
        verdict: Verdict on the budget.
        judged: Subject of the verdict, in words.
    """
    means, gains = {arm: _percent(value) for arm, value in verdict.accuracy.items()}, verdict.gains
    finding = f"{judged} {_FINDING_WORDS[verdict.finding]}" if verdict.finding else _FINDING_WORDS[0]
    control = verdict.control
    return (
        f"With {in_words(verdict.budget)}: {means['finetune']} against {means[control]} from {CONTROLS[control]} "
        f"({_difference(gains[control])}) and {means['scratch']} from ordinary training from scratch "
        f"({_difference(gains['scratch'])}): {finding} ({_p(verdict.p)}). "
        f"Frozen probe: {means['probe']}."
    )


def overall(verdicts: Sequence[Verdict], judged: str = PRETRAINING) -> str:
    """Return one sentence on all budgets.

    Args:
        verdicts: Verdicts of one or more budgets.
        judged: Subject of the sentence, in words.
    """
    phrases = _FINDING_WORDS | {0: f"made {_FINDING_WORDS[0]}"}
    verdicts_of = {sign: [verdict for verdict in verdicts if verdict.finding == sign] for sign in phrases}
    control = CONTROLS[verdicts[0].control]
    if not verdicts_of[1] and not verdicts_of[-1]:
        return f"{_capital(judged)} did not help: {_FINDING_WORDS[0]} from {control} with any number of labels."
    parts = [f"{phrases[sign]} {_at(group)}" for sign, group in verdicts_of.items() if group]
    said = _listed(parts) if verdicts_of[1] else f"did not help: it {_listed(parts[::-1])}"
    subject = f"Compared with {control}, {judged}" if verdicts[0].control == "start" else _capital(judged)
    return f"{subject} {said}."


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def headline(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Return the accuracies after fine-tuning at the first and last budget, and the gain over the control at the first.

    Args:
        verdicts: Verdicts of one or more budgets; with a single one, the last budget is left out.
    """
    first, last = verdicts[0], verdicts[-1]
    many = {"many_labels": last.accuracy["finetune"].value} if len(verdicts) > 1 else {}
    return {
        "few_labels": first.accuracy["finetune"].value,
        "few_labels_gain": first.gains[first.control].mean,
        **many,
    }


def metrics(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return the verdicts as nested figures, for details.json."""
    return {
        "labelled": True,
        "budgets": {
            str(verdict.budget): {
                "images": verdict.images,
                "finding": _FINDING_WORDS[verdict.finding],
                "p": verdict.p,
                **{
                    arm: {
                        "accuracy": verdict.accuracy[arm].value,
                        "accuracy_low": verdict.accuracy[arm].low,
                        "accuracy_high": verdict.accuracy[arm].high,
                        "balanced_accuracy": verdict.balanced_accuracy[arm],
                        "strength" if arm == "probe" else "learning_rate": verdict.chosen[arm],
                    }
                    for arm in verdict.accuracy
                },
                **{
                    f"over_{arm}": {"difference": gain.mean, "margin": gain.margin}
                    for arm, gain in verdict.gains.items()
                },
            }
            for verdict in verdicts
        },
    }


def _difference(gain: Estimate) -> str:
    return f"{100 * gain.mean:+.1f} ± {100 * gain.margin:.1f}"


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= 1e-4 else "p < 0.0001"


def _listed(phrases: Sequence[str]) -> str:
    """Join phrases with a comma before "and", because the phrases themselves contain an "and"."""
    return ", ".join([*phrases[:-1], f"and {phrases[-1]}"]) if len(phrases) > 1 else phrases[0]


def _at(verdicts: Sequence[Verdict]) -> str:
    counts = [str(verdict.budget) for verdict in verdicts if verdict.budget != "all"]
    every = " and ".join([", ".join(counts[:-1])] * (len(counts) > 1) + counts[-1:])
    named = [f"{every} label{'s' * (counts != ['1'])} per class"] if counts else []
    return "with " + " and ".join(named + ["all labels"] * (len(counts) < len(verdicts)))


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.1f}% [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
