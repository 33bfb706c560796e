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

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import FinetuneConfig
from ssl_pipeline.data.labelled import LabelledSplits
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.evaluation.budgets.arms import Learner, Model
from ssl_pipeline.evaluation.budgets.label_draws import Budget, affordable, draw_labels
from ssl_pipeline.evaluation.budgets.origins import Frozen, Origin
from ssl_pipeline.evaluation.statistics.intervals import mean_of_strata
from ssl_pipeline.progress import bar
from ssl_pipeline.registry import Registry
from ssl_pipeline.training.finetuning import Classifier
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.run import deterministic
from ssl_pipeline.types import Encoder

__all__ = ["ARMS", "Arm", "Outcome", "Study", "view_policy"]

Arm = Literal["probe", "finetune", "random", "scratch", "start"]

ARMS: tuple[Arm, ...] = ("probe", "finetune", "random", "scratch", "start")
"""In the order in which they are reported; `start` only where pretraining started from given weights."""

_CHOOSING = 2
"""Draws in which the whole grid is run; the others take over what was chosen. With all labels, draws hold the same, and
one is enough."""


@dataclass(frozen=True)
class Outcome:
    """How one final model did.

    Attributes:
        budget: Labels per class.
        images: Labelled images that it learned from.
        arm: What it started from.
        encoder: Which of the pretrained encoders, from 0, the one that ships; 0 for other arms.
        draw: Which labels, from 0.
        chosen: Its learning rate, or the probe's strength.
        correct: (n_test,) whether each test image was classified correctly.
        balanced_accuracy: Mean over the test split's classes of the share that was classified correctly.
    """

    budget: Budget
    images: int
    arm: Arm
    encoder: int
    draw: int
    chosen: float
    correct: npt.NDArray[np.bool_]
    balanced_accuracy: float

    @property
    def accuracy(self) -> float:
        """The share of test images that were classified correctly."""
        return float(self.correct.mean())


def view_policy(policies: Mapping[str, Policy], kind: str, size: int) -> Policy:
    """The policy of the views to fine-tune on.

    Args:
        policies: Kind -> policy, as the stage augment resolved them.
        kind: `finetune.view`.
        size: Side of the images that the encoder was trained on, px: what ships resizes to it.

    Raises:
        ConfigError: There is no such kind, or its views have another size.
    """
    if kind not in policies:
        raise ConfigError(f"finetune.view: unknown kind of view '{kind}'. Known: {', '.join(sorted(policies))}.")
    if policies[kind].size != size:
        raise ConfigError(
            f"finetune.view: views of kind '{kind}' have {policies[kind].size} px, the encoder was trained on {size}: "
            f"set augment.views.{kind}.size: {size}, or choose another kind."
        )
    return policies[kind]


@dataclass(frozen=True)
class _Step:
    """One kind of model that is chosen and learned at a budget: the probe of an arm's encoders, or the arm itself."""

    arm: Arm | None
    """As which it is reported; None: it is only what an arm's heads start from."""
    origins: Sequence[Origin]
    values: Sequence[float]
    learn: Callable[[Budget, Origin, int, float], Model]


class Study:
    """The comparison, from labelled images to outcomes.

    Args:
        config: The section `finetune`.
        data: The data, on which `obstacle` finds nothing.
        encoder: The pretrained one; its weights are left as they are.
        card: Card of the encoder.
        registry: Where the same encoder with random weights is found.
        policy: Policy of the views to train on.
        precision: Precision of training, and the device to train on.
        further: Encoders that were pretrained as `encoder` was, with other seeds.
        start: The encoder with the weights that pretraining started from; None: they were random.

    Attributes:
        budgets: The budgets that differ on this data, the smallest first.
        classifier: After `run`, the fine-tuned model of the largest budget's first draw.
    """

    classifier: Classifier

    def __init__(
        self,
        config: FinetuneConfig,
        data: LabelledSplits,
        encoder: Encoder,
        card: ModelCard,
        registry: Registry,
        policy: Policy,
        precision: Precision,
        *,
        further: Sequence[Encoder] = (),
        start: Encoder | None = None,
    ):
        self.config, self.data, self.card = config, data, card
        self.budgets = affordable(config.budgets, data.train.labels)
        self._learner = learner = Learner(config, data, card, registry, policy, precision)
        pretrained = [learner.given(one) for one in (encoder, *further)]
        random = [learner.random()]
        strengths, rates = config.strengths, config.learning_rates
        self._steps = [
            _Step("probe", pretrained, strengths, learner.fit),
            _Step("finetune", pretrained, rates, learner.tune),
            _Step(None, random, strengths, learner.fit),
            _Step("random", random, rates, learner.tune),
            _Step("scratch", random, rates, learner.train_from_scratch),
        ]
        if start is not None:
            origin = [learner.given(start.in_grayscale() if card.grayscale else start)]
            self._steps += [_Step(None, origin, strengths, learner.fit), _Step("start", origin, rates, learner.tune)]

    def run(self) -> list[Outcome]:
        """Run every arm at every budget and draw."""
        outcomes = []
        total = sum(self._models(budget, step) for budget in self.budgets for step in self._steps)
        with deterministic(), bar() as progress:
            task = progress.add_task("finetune", total=total, info="")
            for budget in self.budgets:
                for step in self._steps:
                    progress.update(task, info=f"{step.arm or 'probe'}, {budget} labels per class")
                    for encoder, draw, chosen, model in self._final(budget, step, lambda: progress.advance(task)):
                        if isinstance(model, Frozen):
                            step.origins[encoder].probes[draw] = model.probe
                        elif (step.arm, encoder, draw) == ("finetune", 0, 0):
                            self.classifier = model
                        if step.arm is not None:
                            outcomes.append(self._outcome(budget, step.arm, encoder, draw, chosen, model))
        return outcomes

    def _choosing(self, budget: Budget) -> int:
        """In how many draws the whole grid is run: in none if there are no validation images to choose on."""
        if not len(self.data.val):
            return 0
        return 1 if budget == "all" else min(_CHOOSING, self.config.draws)

    def _models(self, budget: Budget, step: _Step) -> int:
        """How many models a step learns at a budget."""
        return self.config.draws * len(step.origins) + self._choosing(budget) * (len(step.values) - 1)

    def _final(
        self, budget: Budget, step: _Step, advance: Callable[[], None]
    ) -> Iterator[tuple[int, int, float, Model]]:
        """The final model of each encoder and draw, with the value that was chosen on the first encoder.

        Those of the choice are not trained again.
        """

        def learn(encoder: int, draw: int, value: float) -> Model:
            model = step.learn(budget, step.origins[encoder], draw, value)
            advance()
            return model

        value, models, best = step.values[(len(step.values) - 1) // 2], [], (-1.0, 0.0)
        if self._choosing(budget):
            for candidate in step.values:
                trained = [learn(0, draw, candidate) for draw in range(self._choosing(budget))]
                score = self._score(budget, trained)
                if score > best:
                    value, models, best = candidate, trained, score
        for encoder in range(len(step.origins)):
            for draw in range(self.config.draws):
                known = encoder == 0 and draw < len(models)
                yield encoder, draw, value, models[draw] if known else learn(encoder, draw, value)

    def _score(self, budget: Budget, models: Sequence[Model]) -> tuple[float, float]:
        """Mean accuracy on the validation images that a budget affords; then, as few images tie, log-likelihood."""
        val, scores = self.data.val, []
        for draw, model in enumerate(models):
            chosen = draw_labels(val.ids, val.labels, budget, self.config.seed, draw)
            logits, labels = self._learner.logits(model, val, chosen), val.labels[chosen]
            if not np.isfinite(logits).all():  # training diverged
                return 0.0, -np.inf
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            likelihoods = shares[np.arange(len(labels)), labels] / shares.sum(axis=1)
            scores.append([(logits.argmax(axis=1) == labels).mean(), np.log(likelihoods.clip(1e-12)).mean()])
        accuracy, likelihood = np.mean(scores, axis=0)
        return float(accuracy), float(likelihood)

    def _outcome(self, budget: Budget, arm: Arm, encoder: int, draw: int, chosen: float, model: Model) -> Outcome:
        """Look at the test split."""
        test, images = self.data.test, len(self._learner.drawn(budget, draw))
        correct = self._learner.logits(model, test, np.arange(len(test))).argmax(axis=1) == test.labels
        return Outcome(budget, images, arm, encoder, draw, chosen, correct, mean_of_strata(correct, test.labels))
