"""The label-budget study in words, and its table."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.budgets.budget_verdicts import CONTROLS, PRETRAINING, Verdict, overall, sentence
from ssl_pipeline.evaluation.budgets.outcome import Arm, Outcome
from ssl_pipeline.evaluation.report import Table

__all__ = ["budget_table", "conclusion"]

_FOOTNOTE = """\
Accuracy on {images}, mean of {draws} draws of labels, with its 95% interval over draws and test images; differences
± half of theirs.
{control}: the same network, with {weights}.
It learns as the pretrained encoder does: the head starts from a probe of the encoder's own features, and batch norms
have statistics of the same images. From scratch: random weights and a random head, with statistics of the batches, as
one trains without pretraining. All learn from the same labels, views and steps. Every learning rate was chosen from one
grid on validation images, by each arm for itself.
{luck}
p: of the less certain of the two differences, after Holm's correction over the budgets; below 0.05 it counts."""

_WEIGHTS_OF_CONTROL: dict[Arm, str] = {
    "random": "other weights in each draw",
    "start": "the weights that pretraining was given",
}


def conclusion(verdicts: Sequence[Verdict], groups: npt.NDArray[np.int64], judged: str = PRETRAINING) -> list[str]:
    """Return the verdict: a line on all budgets, a line for each, and how to read them.

    Args:
        verdicts: The verdicts of one or more budgets.
        groups: (n_test,) numbers of the test images' groups, equal for images of one group.
        judged: What is judged, in words.
    """
    lines = [sentence(verdict, judged) for verdict in verdicts]
    return [overall(verdicts, judged), *lines, *_footnote(verdicts[0], groups).splitlines()]


def _footnote(verdict: Verdict, groups: npt.NDArray[np.int64]) -> str:
    """Say how to read the verdict."""
    count = len(np.unique(groups))
    images = f"{len(groups)} test images" + (f" of {count} groups" if count < len(groups) else "")
    if verdict.encoders > 1:
        luck = f"The pretrained arms are means of {verdict.encoders} encoders, whose spread the intervals hold."
    elif verdict.control == "start":
        luck = "Intervals are given this one pretrained encoder: those of other seeds would differ (finetune.encoders)."
    else:
        luck = (
            "Intervals are given this one pretrained encoder. Differences from random weights allow for its luck,\n"
            "which they take to be that of random weights; finetune.encoders measures it."
        )
    control, weights = CONTROLS[verdict.control].capitalize(), _WEIGHTS_OF_CONTROL[verdict.control]
    return _FOOTNOTE.format(images=images, draws=verdict.draws, control=control, weights=weights, luck=luck)


def budget_table(outcomes: Sequence[Outcome], arms: Sequence[Arm]) -> Table:
    """Return the table: a row for each budget, encoder and draw, the arms side by side."""
    named = (*arms, *(f"{arm}_balanced" for arm in arms), *(f"{arm}_chosen" for arm in arms))
    return Table(["budget", "images", "encoder", "draw", *named], _rows(outcomes, arms))


def _rows(outcomes: Sequence[Outcome], arms: Sequence[Arm]) -> list[list[object]]:
    """Return the rows of the table; cells are empty where an arm has one encoder only."""
    rows: list[list[object]] = []
    for budget, encoder, draw in dict.fromkeys((outcome.budget, outcome.encoder, outcome.draw) for outcome in outcomes):
        outcome_of_arm = {
            outcome.arm: outcome
            for outcome in outcomes
            if (outcome.budget, outcome.encoder, outcome.draw) == (budget, encoder, draw)
        }
        in_order = [outcome_of_arm.get(arm) for arm in arms]
        accuracies = [f"{outcome.accuracy:.6f}" if outcome else "" for outcome in in_order]
        balanced = [f"{outcome.balanced_accuracy:.6f}" if outcome else "" for outcome in in_order]
        chosen = [f"{outcome.chosen:g}" if outcome else "" for outcome in in_order]
        rows.append([budget, outcome_of_arm["finetune"].images, encoder, draw, *accuracies, *balanced, *chosen])
    return rows
