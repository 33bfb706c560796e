"""Measure what pretrained weights are worth when labels are few: several arms learn from the same draws of labels.

For each label budget k and each draw, the labels of k training images of every class are used. These arms learn from
them:

    probe      the pretrained encoder, frozen, with logistic regression on its embeddings
    finetune   the pretrained encoder, trained as a whole; its head starts from that probe (2202.10054)
    random     the same network, with new random weights in each draw, and otherwise like `finetune`
    scratch    the same network in ordinary training from scratch: random weights, and the initial head of torch
    start      the weights that pretraining started from, if these were not random, and otherwise like `finetune`

`finetune`, `random` and `start` differ only in the weights of their encoders, so that a difference between them is due
to these: batch norms have the statistics of the same images, heads start from a probe of each encoder's own features,
and either all arms or none keep their statistics while they learn. `scratch` differs in all of this and is what one
would do without pretraining. All arms see the same views in the same order for the same number of steps, and end in a
linear head on the unnormalised embedding of the backbone: an embedding of unit length would bound the logits of a head
that starts small.

Learning rates and strengths are chosen for each arm and each budget from one grid, on validation images only, and on no
more of them than the budget affords: k of every class in each of the draws that choose (Oliver et al. 2018, 1804.09170,
on realistic validation sets). The weights of the last step are used, without early stopping. Each final model sees the
test images once.
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
        model: Fine-tuned model of the largest budget's first draw.
        card: Card of the classifier's encoder.
        classes: Names of the classes, by number.
        budget: Number of labels per class that it learned from.
    """

    model: Classifier
    card: ModelCard
    classes: tuple[str, ...]
    budget: Budget


@dataclass(frozen=True, kw_only=True)
class BudgetFindings(Report):
    """The report and, if nothing could be compared and no classifier ships, the reason."""

    obstacle: str = ""


def study_budgets(
    settings: FinetuneConfig,
    inputs: BudgetInputs,
    reopen: Callable[[], BudgetInputs] | None = None,
    ship: Callable[[Tuned], None] = lambda tuned: None,
) -> BudgetFindings:
    """Run every arm at every budget and draw, and judge what pretraining was worth.

    Args:
        settings: Section `finetune` of params.yaml.
        inputs: Encoders to compare, and the images to compare them on.
        reopen: Function that opens the same inputs in another process; see `compete`.
        ship: Function to call with the classifier that ships, as soon as it has been trained.
    """
    data = inputs.data
    if reason := obstacle(data):
        return _without_classifier(reason)
    shaped_by = digest([inputs.card.params_sha256, settings.model_dump(mode="json")])
    card = inputs.card.model_copy(update={"params_sha256": shaped_by})
    largest = affordable(settings.budgets, data.train.labels)[-1]
    outcomes = compete(settings, inputs, reopen, lambda model: ship(Tuned(model, card, data.classes, largest)))
    verdicts = judge_budgets(outcomes, data.test.groups)
    judged = f"the start ({card.init}), without training," if card.frozen else PRETRAINING
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
    """Return the same figures, table and text for a study without a comparison, of which all say why."""
    line = f"Whether pretraining helped was not measured, because {reason}."
    return BudgetFindings(
        figures={"labelled": False},
        headline={},
        tables={"label_budget.csv": budget_table([], [arm for arm in ARMS if arm != "start"])},
        texts={"verdict.txt": [line]},
        pictures=[],
        lines=[line],
        obstacle=reason,
    )
