"""What pretrained weights are worth when labels are few: several arms on the same labels, over several draws of them.

For each label budget k and each draw, k training images of every class get their labels. These arms learn from them:

    probe      the pretrained encoder, frozen, under logistic regression
    finetune   the pretrained encoder, all of it trained; its head starts from that probe (2202.10054)
    random     the same network from random weights, others in each draw, and otherwise like `finetune`
    scratch    the same network as one trains it from scratch: random weights, and a head as torch draws one
    start      what pretraining started from, where that was a file or a download, and otherwise like `finetune`

`finetune`, `random` and `start` differ in the weights of their encoders and in nothing else, so that a difference
between them is due to those: batch norms have statistics of the same images, heads start from a probe of each encoder's
own features, and either all of them or none keep their statistics while they learn. `scratch` differs in all of this
and is what one would do without pretraining. All of them see the same views in the same order for the same number of
steps, and end in a linear head on the backbone's embedding as it is: of unit length, it would bound the logits of a
head that starts small.

What is chosen (a learning rate for what is trained, a probe's strength) is chosen for each arm and each budget from one
grid, on validation images only, and on no more of them than the budget could afford: k of every class in each of the
draws that choose (Oliver et al. 2018, 1804.09170, on realistic validation sets). The last step's weights count, without
early stopping. Test images are looked at once for each final model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.config import FinetuneConfig
from ssl_pipeline.evaluation.budgets.budget_picture import draw_budgets
from ssl_pipeline.evaluation.budgets.budget_report import budget_table, conclusion
from ssl_pipeline.evaluation.budgets.budget_verdicts import PRETRAINING, headline, judge_budgets, metrics
from ssl_pipeline.evaluation.budgets.contest import compete
from ssl_pipeline.evaluation.budgets.inputs import BudgetInputs
from ssl_pipeline.evaluation.budgets.label_draws import Budget, affordable, obstacle
from ssl_pipeline.evaluation.budgets.outcome import ARMS
from ssl_pipeline.evaluation.report import Report
from ssl_pipeline.products import digest
from ssl_pipeline.training.finetuning import Classifier

__all__ = ["BudgetFindings", "Tuned", "study_budgets"]


class Tuned(NamedTuple):
    """The classifier that ships.

    Attributes:
        model: The fine-tuned model of the largest budget's first draw.
        card: Card of its encoder.
        classes: Names of the classes, by number.
        budget: Labels per class that it learned from.
    """

    model: Classifier
    card: ModelCard
    classes: tuple[str, ...]
    budget: Budget


@dataclass(frozen=True, kw_only=True)
class BudgetFindings(Report):
    """The report, and the reason why nothing could be compared and no classifier ships, if there is one."""

    obstacle: str = ""


def study_budgets(
    settings: FinetuneConfig,
    inputs: BudgetInputs,
    reopen: Callable[[], BudgetInputs] | None = None,
    ship: Callable[[Tuned], None] = lambda tuned: None,
) -> BudgetFindings:
    """Run every arm at every budget and draw, and judge what pretraining was worth.

    Args:
        settings: The section `finetune`.
        inputs: What is compared, and on what.
        reopen: Function that opens the same inputs in another process; see `compete`.
        ship: Function that is given the classifier that ships, as soon as there is one.
    """
    data = inputs.data
    if reason := obstacle(data):
        return _without_classifier(reason)
    shaped_by = digest([inputs.card.params_sha256, settings.model_dump(mode="json")])
    card = inputs.card.model_copy(update={"params_sha256": shaped_by})
    largest = affordable(settings.budgets, data.train.labels)[-1]
    outcomes = compete(settings, inputs, reopen, lambda model: ship(Tuned(model, card, data.classes, largest)))
    verdicts = judge_budgets(outcomes, data.test.groups)
    judged = f"the start ({card.init}), with no training," if card.frozen else PRETRAINING
    words = conclusion(verdicts, data.test.groups, judged)

    def draw(pictures: Path) -> None:
        draw_budgets(verdicts, len(data.classes), pictures / "label_budget.png")

    return BudgetFindings(
        figures=metrics(verdicts),
        headline=headline(verdicts),
        tables={"label_budget.csv": budget_table(outcomes, list(verdicts[0].accuracy))},
        texts={"verdict.txt": words},
        pictures=[draw],
        lines=words,
    )


def _without_classifier(reason: str) -> BudgetFindings:
    """Return the same figures, table and text where nothing could be compared: all of them say so."""
    line = f"finetune: nothing to compare, and no classifier: {reason}."
    return BudgetFindings(
        figures={"labelled": False},
        headline={},
        tables={"label_budget.csv": budget_table([], [arm for arm in ARMS if arm != "start"])},
        texts={"verdict.txt": [line]},
        pictures=[],
        lines=[line],
        obstacle=reason,
    )
