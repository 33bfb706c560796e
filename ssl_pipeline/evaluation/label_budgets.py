"""What pretrained weights are worth when labels are few: three arms on the same labels, over several draws of them.

For each label budget k and each draw, k training images of every class get their labels. Three arms learn from them:

    probe      the pretrained encoder, frozen, under logistic regression
    finetune   the pretrained encoder, all of it trained; its head starts from that probe (2202.10054)
    scratch    the same network from random weights

`finetune` and `scratch` see the same views in the same order for the same number of steps, and both end in a linear
head on the backbone's embedding as it is: of unit length, it would bound the logits of a head that starts small.

What is chosen (a learning rate for `finetune` and for `scratch`, the probe's strength) is chosen for each arm and each
budget from one grid, on validation images only, and on no more of them than the budget could afford: k of every class
in each of the draws that choose (Oliver et al. 2018, 1804.09170, on realistic validation sets). The last step's weights
count, without early stopping. Test images are looked at once for each final model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import FinetuneConfig
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.evaluation.draws import Budget, Data, affordable, draw_labels
from ssl_pipeline.evaluation.linear_probe import Probe, fit_at
from ssl_pipeline.models.encoder import Encoder
from ssl_pipeline.models.rebuild import ModelCard, untrained
from ssl_pipeline.progress import bar
from ssl_pipeline.randomness import hash64
from ssl_pipeline.registry import Registry
from ssl_pipeline.training.finetuning import Classifier, Labelled, Schedule, embed, finetune
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.run import deterministic

__all__ = ["ARMS", "Arm", "Outcome", "Study", "view_policy"]

Arm = Literal["probe", "finetune", "scratch"]
Array = npt.NDArray[np.int64]
Model = Probe | Classifier

ARMS: tuple[Arm, ...] = ("probe", "finetune", "scratch")
"""In the order in which they run: fine-tuning starts from the probe."""

_CHOOSING = 2
"""Draws in which the whole grid is run; the others take over what was chosen. With all labels, draws hold the same, and
one is enough."""


@dataclass(frozen=True)
class Outcome:
    """How one final model did.

    Attributes:
        budget: Labels a class.
        images: Labelled images that it learned from.
        arm: What it started from.
        draw: Which labels, from 0.
        chosen: Its learning rate, or the probe's strength.
        correct: (n_test,) whether each test image was told right.
        balanced_accuracy: Mean over the test split's classes of the share told right.
    """

    budget: Budget
    images: int
    arm: Arm
    draw: int
    chosen: float
    correct: npt.NDArray[np.bool_]
    balanced_accuracy: float

    @property
    def accuracy(self) -> float:
        """The share of test images told right."""
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


class Study:
    """The comparison, from labelled images to outcomes.

    Args:
        config: The section `finetune`.
        data: On which `obstacle` finds nothing.
        encoder: The pretrained one; its weights are left as they are.
        card: Of the encoder.
        registry: Where the same encoder with random weights is found.
        policy: Of the views to train on.
        precision: Of training, and where to train.

    Attributes:
        budgets: Those that differ on this data, the smallest first.
        classifier: After `run`, the fine-tuned model of the largest budget's first draw.
    """

    classifier: Classifier

    def __init__(
        self,
        config: FinetuneConfig,
        data: Data,
        encoder: Encoder,
        card: ModelCard,
        registry: Registry,
        policy: Policy,
        precision: Precision,
    ):
        self.config, self.data, self.card, self.policy, self.precision = config, data, card, policy, precision
        self.encoder, self.registry = encoder, registry
        self.budgets = affordable(config.budgets, data.train.labels)
        self._features = {part.split.name: embed(encoder, part, card, precision.device) for part in data[:3]}
        self._probes: dict[tuple[Budget, int], Probe] = {}
        self._values: dict[Arm, Sequence[float]] = {
            "probe": config.strengths,
            "finetune": config.learning_rates,
            "scratch": config.learning_rates,
        }

    def run(self) -> list[Outcome]:
        """Run every arm at every budget and draw."""
        outcomes = []
        total = sum(self._models(budget, arm) for budget in self.budgets for arm in ARMS)
        with deterministic(), bar() as progress:
            task = progress.add_task("finetune", total=total, info="")
            for budget in self.budgets:
                for arm in ARMS:
                    progress.update(task, info=f"{arm}, {budget} labels a class")
                    for draw, chosen, model in self._final(budget, arm, lambda: progress.advance(task)):
                        self._keep(budget, arm, draw, model)
                        outcomes.append(self._outcome(budget, arm, draw, chosen, model))
        return outcomes

    def _choosing(self, budget: Budget) -> int:
        """In how many draws the whole grid is run: in none if there are no validation images to choose on."""
        if not len(self.data.val):
            return 0
        return 1 if budget == "all" else min(_CHOOSING, self.config.draws)

    def _models(self, budget: Budget, arm: Arm) -> int:
        """How many models an arm trains at a budget."""
        return self.config.draws + self._choosing(budget) * (len(self._values[arm]) - 1)

    def _final(self, budget: Budget, arm: Arm, advance: Callable[[], None]) -> Iterator[tuple[int, float, Model]]:
        """Each draw's final model, with the value that was chosen. Those of the choice are not trained again."""

        def learn(draw: int, value: float) -> Model:
            model = self._learn(budget, arm, draw, value)
            advance()
            return model

        values = self._values[arm]
        value, models, best = values[(len(values) - 1) // 2], [], (-1.0, 0.0)
        if self._choosing(budget):
            for candidate in values:
                trained = [learn(draw, candidate) for draw in range(self._choosing(budget))]
                score = self._score(budget, trained)
                if score > best:
                    value, models, best = candidate, trained, score
        for draw in range(self.config.draws):
            yield draw, value, models[draw] if draw < len(models) else learn(draw, value)

    def _score(self, budget: Budget, models: Sequence[Model]) -> tuple[float, float]:
        """Mean accuracy on the validation images that a budget affords; then, as few images tie, log-likelihood."""
        val, scores = self.data.val, []
        for draw, model in enumerate(models):
            chosen = draw_labels(val.ids, val.labels, budget, self.config.seed, draw)
            logits, labels = self._logits(model, val, chosen), val.labels[chosen]
            if not np.isfinite(logits).all():  # training diverged
                return 0.0, -np.inf
            shares = np.exp(logits - logits.max(axis=1, keepdims=True))
            likelihoods = shares[np.arange(len(labels)), labels] / shares.sum(axis=1)
            scores.append([(logits.argmax(axis=1) == labels).mean(), np.log(likelihoods.clip(1e-12)).mean()])
        accuracy, likelihood = np.mean(scores, axis=0)
        return float(accuracy), float(likelihood)

    def _logits(self, model: Model, part: Labelled, positions: Array) -> npt.NDArray[np.float32]:
        """Class scores (m, C) of the images at some positions of val or test."""
        if isinstance(model, Probe):
            weight, bias, features = model.weight, model.bias, self._features[part.split.name][positions]
        else:
            weight, bias = (value.numpy(force=True) for value in (model.head.weight, model.head.bias))
            features = embed(model.encoder, part.subset(positions), self.card, self.precision.device)
        return np.asarray(features @ weight.T + bias)

    def _learn(self, budget: Budget, arm: Arm, draw: int, value: float) -> Model:
        """Train one model on the labels of one draw."""
        train, config = self.data.train, self.config
        chosen = draw_labels(train.ids, train.labels, budget, config.seed, draw)
        probe, seed = self._probes.get((budget, draw)), int(hash64(config.seed, "finetune", draw)) >> 1
        if arm == "probe":
            if budget == "all" and draw > 0:  # the same labels again
                return self._probes[budget, 0]
            features = self._features[train.split.name][chosen]
            return fit_at(features, train.labels[chosen], value, class_count=len(self.data.classes))
        if arm == "finetune":
            assert probe is not None  # it came before
            weight, bias = torch.from_numpy(probe.weight), torch.from_numpy(probe.bias)
            classifier = Classifier(deepcopy(self.encoder), weight, bias)
        else:
            classifier = self._untrained(seed)
        steps = max(config.steps, config.epochs * ceil(len(chosen) / config.batch_size))
        schedule = Schedule(steps, config.batch_size, value, config.weight_decay)
        finetune(
            classifier,
            train.subset(chosen),
            self.policy,
            schedule,
            seed=seed,
            # statistics of the whole pool say more than those of some tens of images
            keep_statistics=arm == "finetune" and len(chosen) < config.batch_size,
            precision=self.precision,
        )
        return classifier

    def _untrained(self, seed: int) -> Classifier:
        """The same network with random weights, its head drawn as torch draws one."""
        encoder = untrained(self.registry, self.card, seed)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            head = nn.Linear(encoder.embedding_dim, len(self.data.classes))
        return Classifier(encoder, head.weight, head.bias)

    def _keep(self, budget: Budget, arm: Arm, draw: int, model: Model) -> None:
        """Keep what is needed later: the probes that fine-tuning starts from, and the model that ships."""
        if isinstance(model, Probe):
            self._probes[budget, draw] = model
        elif arm == "finetune" and draw == 0:
            self.classifier = model

    def _outcome(self, budget: Budget, arm: Arm, draw: int, chosen: float, model: Model) -> Outcome:
        """Look at the test split."""
        train, test = self.data.train, self.data.test
        images = len(draw_labels(train.ids, train.labels, budget, self.config.seed, draw))
        correct = self._logits(model, test, np.arange(len(test))).argmax(axis=1) == test.labels
        balanced = np.mean([correct[test.labels == label].mean() for label in np.unique(test.labels)])
        return Outcome(budget, images, arm, draw, chosen, correct, float(balanced))
