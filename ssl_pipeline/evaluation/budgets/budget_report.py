"""Results of the label-budget study as sentences and as a table."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.budgets.budget_verdicts import CONTROLS, PRETRAINING, Verdict, overall, sentence
from ssl_pipeline.evaluation.budgets.outcome import Arm, Outcome
from ssl_pipeline.evaluation.report import Table

__all__ = ["budget_table", "conclusion"]

_FOOTNOTE = """\
Accuracies are on {images}, averaged over {draws} draws of labels, with 95% intervals over draws and test images;
differences are given ± half the width of their interval.
{control}: the same network, with {weights}.
It is trained like the pretrained encoder: the head starts from a probe of the encoder's own features, and batch norms
have the statistics of the same images. From scratch: random weights and a random head, with statistics of the batches,
as in training without pretraining. All arms learn from the same labels and views, for the same number of steps. Each
arm chooses its learning rate from the same grid on validation images.
{luck}
p is the p-value of the less certain of the two differences, after Holm's correction over the budgets; a difference is
significant if p is below 0.05."""

_WEIGHTS_OF_CONTROL: dict[Arm, str] = {
    "random": "new random weights in each draw",
    "start": "the weights that pretraining started from",
}


def conclusion(verdicts: Sequence[Verdict], groups: npt.NDArray[np.int64], judged: str = PRETRAINING) -> list[str]:
    """Return the verdict: one line on all budgets, one line on each, and notes on how to read them.

    Args:
        verdicts: Verdicts of one or more budgets.
        groups: Group numbers of the test images (n_test,), equal for images of one group.
        judged: Subject of the verdict, in words.
    """
    lines = [sentence(verdict, judged) for verdict in verdicts]
    return [overall(verdicts, judged), *lines, *_footnote(verdicts[0], groups).splitlines()]


def _footnote(verdict: Verdict, groups: npt.NDArray[np.int64]) -> str:
    """Return notes on how to read the verdict."""
    count = len(np.unique(groups))
    images = f"{len(groups)} test images" + (f" in {count} groups" if count < len(groups) else "")
    if verdict.encoders > 1:
        luck = f"The pretrained arms are means of {verdict.encoders} encoders, whose spread the intervals include."
    elif verdict.control == "start":
        luck = "Intervals hold for this one pretrained encoder; those of other seeds would differ (finetune.encoders)."
    else:
        luck = (
            "Intervals hold for this one pretrained encoder. Differences from random weights allow for its luck,\n"
            "assuming that it varies as much as random weights do; finetune.encoders measures this."
        )
    control, weights = CONTROLS[verdict.control].capitalize(), _WEIGHTS_OF_CONTROL[verdict.control]
    return _FOOTNOTE.format(images=images, draws=verdict.draws, control=control, weights=weights, luck=luck)


def budget_table(outcomes: Sequence[Outcome], arms: Sequence[Arm]) -> Table:
    """Return the table, with one row per budget, encoder and draw, and the arms side by side."""
    named = (*arms, *(f"{arm}_balanced" for arm in arms), *(f"{arm}_chosen" for arm in arms))
    return Table(["budget", "images", "encoder", "draw", *named], _rows(outcomes, arms))


def _rows(outcomes: Sequence[Outcome], arms: Sequence[Arm]) -> list[list[object]]:
    """Return the rows of the table; for further encoders, the cells of arms with a single encoder are empty."""
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
