"""The contest of the arms: every arm at every budget, on the same draws of labels."""

from collections.abc import Callable
from functools import partial
from itertools import chain

import numpy as np
import torch

from ssl_pipeline.config import FinetuneConfig
from ssl_pipeline.evaluation.budgets.arms import Learner
from ssl_pipeline.evaluation.budgets.choice import Contestant, Final, final_models, model_count
from ssl_pipeline.evaluation.budgets.inputs import BudgetInputs
from ssl_pipeline.evaluation.budgets.label_draws import Budget, affordable, in_words
from ssl_pipeline.evaluation.budgets.origins import Frozen
from ssl_pipeline.evaluation.budgets.outcome import ARMS, Arm, Outcome
from ssl_pipeline.evaluation.statistics.intervals import mean_of_strata
from ssl_pipeline.processes import Crew
from ssl_pipeline.progress import bar
from ssl_pipeline.training.finetuning import Classifier
from ssl_pipeline.training.run import deterministic

__all__ = ["MAX_PROCESSES", "compete"]

MAX_PROCESSES = 4
"""Largest number of processes that train at once; each takes as much memory as the first."""


def compete(
    settings: FinetuneConfig,
    inputs: BudgetInputs,
    reopen: Callable[[], BudgetInputs] | None = None,
    ship: Callable[[Classifier], None] = lambda classifier: None,
) -> list[Outcome]:
    """Run every arm at every budget and draw.

    Args:
        settings: Section `finetune` of params.yaml.
        inputs: Encoders to compare, and the images to compare them on; `obstacle` must return None for its data.
        reopen: Function that opens the same inputs in another process, to which it is sent. Small networks keep several
            cores busy only if each core trains its own network. None: this process does all the work.
        ship: Function to call with the classifier, the fine-tuned model of the largest budget's first draw, as soon as
            it has been trained. It runs in this process while the others continue.

    Returns:
        Outcomes of every budget, arm, encoder and draw.
    """
    contest, threads = _Jobs(settings, inputs), torch.get_num_threads()
    processes = 1
    if reopen is not None and inputs.precision.device.type == "cpu":
        processes = min(threads, len(contest.jobs), MAX_PROCESSES)
    with bar() as progress:
        task = progress.add_task("finetune", total=sum(contest.parts), info="")

        def work(number: int, advance: Callable[[], object]) -> list[Outcome]:
            outcomes = contest.run(number, advance, lambda info: progress.update(task, info=info))
            if number == 0:
                assert contest.classifier is not None  # the first job trains it
                ship(contest.classifier)
            return outcomes

        crew = Crew(
            contest.parts,
            work,
            partial(_prepare, settings, reopen or (lambda: inputs), threads // processes),
            processes - 1,
            lambda done: progress.update(task, completed=done),
        )
        try:
            torch.set_num_threads(threads // processes)  # the figures depend on it, with and without helpers
            found = crew.run()
        finally:
            torch.set_num_threads(threads)
    order = [(budget, arm) for budget in contest.budgets for arm in ARMS]
    return sorted(chain.from_iterable(found), key=lambda one: order.index((one.budget, one.arm)))


class _Jobs:
    """The jobs of a contest; each job is one budget of the models that start from the same encoders.

    The largest budget of the pretrained encoder comes first, because it yields the classifier.
    """

    def __init__(self, settings: FinetuneConfig, inputs: BudgetInputs):
        self._learner = Learner(settings, inputs)
        self.budgets = affordable(settings.budgets, inputs.data.train.labels)
        families = _families(settings, inputs, self._learner)
        self.jobs = [(budget, family) for budget in reversed(self.budgets) for family in families]
        self.classifier: Classifier | None = None

    @property
    def parts(self) -> list[int]:
        """Number of models that each job trains."""
        return [sum(model_count(self._learner, budget, entry) for entry in family) for budget, family in self.jobs]

    def run(self, number: int, advance: Callable[[], object], tell: Callable[[str], None]) -> list[Outcome]:
        """Run a job and return the outcomes of its models."""
        (budget, family), outcomes = self.jobs[number], []
        with deterministic():
            for entry in family:
                tell(f"{entry.arm or 'probe'}, {in_words(budget)}")
                for final in final_models(self._learner, budget, entry, advance):
                    if isinstance(final.model, Frozen):
                        entry.origins[final.encoder].probes[final.draw] = final.model.probe
                    elif number == final.encoder == final.draw == 0:
                        self.classifier = final.model
                    if entry.arm is not None:
                        outcomes.append(_outcome(self._learner, budget, entry.arm, final))
        return outcomes


def _prepare(
    settings: FinetuneConfig, reopen: Callable[[], BudgetInputs], threads: int
) -> Callable[[int, Callable[[], object]], list[Outcome]]:
    """Return a function that runs jobs in another process."""
    torch.set_num_threads(threads)
    contest = _Jobs(settings, reopen())
    return lambda number, advance: contest.run(number, advance, lambda _: None)


def _families(settings: FinetuneConfig, inputs: BudgetInputs, learner: Learner) -> list[list[Contestant]]:
    """Return the contestants at a budget, grouped by origin; a probe precedes the arm whose heads start from it."""
    strengths, rates = settings.strengths, settings.learning_rates
    pretrained = [learner.given(one) for one in (inputs.encoder, *inputs.further)]
    random = [learner.random()]
    families = [
        [
            Contestant("probe", pretrained, strengths, learner.fit),
            Contestant("finetune", pretrained, rates, learner.tune),
        ],
        [Contestant(None, random, strengths, learner.fit), Contestant("random", random, rates, learner.tune)],
        [Contestant("scratch", random, rates, learner.train_from_scratch)],
    ]
    if inputs.start is not None:
        start = [learner.given(inputs.start.in_grayscale() if inputs.card.grayscale else inputs.start)]
        families.append(
            [Contestant(None, start, strengths, learner.fit), Contestant("start", start, rates, learner.tune)]
        )
    return families


def _outcome(learner: Learner, budget: Budget, arm: Arm, final: Final) -> Outcome:
    """Evaluate a final model on the test split."""
    test, images = learner.data.test, len(learner.drawn(budget, final.draw))
    correct = learner.logits(final.model, test, np.arange(len(test))).argmax(axis=1) == test.labels
    balanced = mean_of_strata(correct, test.labels)
    return Outcome(budget, images, arm, final.encoder, final.draw, final.chosen, correct, balanced)
