"""The contest of the arms: every one of them at every budget, on the same draws of labels."""

from typing import NamedTuple

import numpy as np

from ssl_pipeline.config import FinetuneConfig
from ssl_pipeline.evaluation.budgets.arms import Learner
from ssl_pipeline.evaluation.budgets.choice import Contestant, Final, final_models, model_count
from ssl_pipeline.evaluation.budgets.inputs import BudgetInputs
from ssl_pipeline.evaluation.budgets.label_draws import Budget, affordable, in_words
from ssl_pipeline.evaluation.budgets.origins import Frozen
from ssl_pipeline.evaluation.budgets.outcome import Arm, Outcome
from ssl_pipeline.evaluation.statistics.intervals import mean_of_strata
from ssl_pipeline.progress import bar
from ssl_pipeline.training.finetuning import Classifier
from ssl_pipeline.training.run import deterministic

__all__ = ["Contest", "compete"]


class Contest(NamedTuple):
    """What came of it.

    Attributes:
        outcomes: Outcomes of every budget, arm, encoder and draw.
        classifier: The fine-tuned model of the largest budget's first draw.
    """

    outcomes: list[Outcome]
    classifier: Classifier


def compete(settings: FinetuneConfig, inputs: BudgetInputs) -> Contest:
    """Run every arm at every budget and draw.

    Args:
        settings: The section `finetune`.
        inputs: What is compared, and on what; `obstacle` finds nothing on its data.
    """
    learner = Learner(settings, inputs)
    entries, budgets = _entries(settings, inputs, learner), affordable(settings.budgets, inputs.data.train.labels)
    outcomes, classifier = [], None
    with deterministic(), bar() as progress:
        total = sum(model_count(learner, budget, entry) for budget in budgets for entry in entries)
        task = progress.add_task("finetune", total=total, info="")
        for budget in budgets:
            for entry in entries:
                progress.update(task, info=f"{entry.arm or 'probe'}, {in_words(budget)}")
                for final in final_models(learner, budget, entry, lambda: progress.advance(task)):
                    if isinstance(final.model, Frozen):
                        entry.origins[final.encoder].probes[final.draw] = final.model.probe
                    elif (entry.arm, final.encoder, final.draw) == ("finetune", 0, 0):
                        classifier = final.model
                    if entry.arm is not None:
                        outcomes.append(_outcome(learner, budget, entry.arm, final))
    assert classifier is not None  # there is a budget, and every budget fine-tunes
    return Contest(outcomes, classifier)


def _entries(settings: FinetuneConfig, inputs: BudgetInputs, learner: Learner) -> list[Contestant]:
    """Return all that learns at a budget, in order: a probe comes before the arms whose heads start from it."""
    strengths, rates = settings.strengths, settings.learning_rates
    pretrained = [learner.given(one) for one in (inputs.encoder, *inputs.further)]
    random = [learner.random()]
    entries = [
        Contestant("probe", pretrained, strengths, learner.fit),
        Contestant("finetune", pretrained, rates, learner.tune),
        Contestant(None, random, strengths, learner.fit),
        Contestant("random", random, rates, learner.tune),
        Contestant("scratch", random, rates, learner.train_from_scratch),
    ]
    if inputs.start is None:
        return entries
    start = [learner.given(inputs.start.in_grayscale() if inputs.card.grayscale else inputs.start)]
    return [*entries, Contestant(None, start, strengths, learner.fit), Contestant("start", start, rates, learner.tune)]


def _outcome(learner: Learner, budget: Budget, arm: Arm, final: Final) -> Outcome:
    """Look at the test split."""
    test, images = learner.data.test, len(learner.drawn(budget, final.draw))
    correct = learner.logits(final.model, test, np.arange(len(test))).argmax(axis=1) == test.labels
    balanced = mean_of_strata(correct, test.labels)
    return Outcome(budget, images, arm, final.encoder, final.draw, final.chosen, correct, balanced)
