"""Choosing a learning rate or a strength on validation images, and the models that are final once it is chosen."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ssl_pipeline.evaluation.budgets.arms import Learner, Model
from ssl_pipeline.evaluation.budgets.label_draws import Budget, draw_labels
from ssl_pipeline.evaluation.budgets.origins import Origin
from ssl_pipeline.evaluation.budgets.outcome import Arm

__all__ = ["Contestant", "Final", "final_models", "model_count"]

_CHOOSING_DRAWS = 2
"""Draws in which the whole grid is run; the others take over what was chosen. With all labels, draws hold the same, and
one is enough."""


@dataclass(frozen=True)
class Contestant:
    """One kind of model that is chosen and learned at a budget: the probe of an arm's encoders, or the arm itself.

    Attributes:
        arm: The name by which it is reported; None: it is only what an arm's heads start from.
        origins: What it starts from, the encoder that ships first.
        values: The grid to choose from.
        learn: Function that learns a model, given a budget, an origin, a draw and a value of the grid.
    """

    arm: Arm | None
    origins: Sequence[Origin]
    values: Sequence[float]
    learn: Callable[[Budget, Origin, int, float], Model]


@dataclass(frozen=True)
class Final:
    """A model that is tested.

    Attributes:
        encoder: The number of the origin, from 0.
        draw: The number of the draw of labels, from 0.
        chosen: Its learning rate, or the probe's strength.
        model: What was learned.
    """

    encoder: int
    draw: int
    chosen: float
    model: Model


def model_count(learner: Learner, budget: Budget, entry: Contestant) -> int:
    """Return how many models an entry learns at a budget."""
    return learner.config.draws * len(entry.origins) + _choosing_draws(learner, budget) * (len(entry.values) - 1)


def final_models(learner: Learner, budget: Budget, entry: Contestant, advance: Callable[[], object]) -> Iterator[Final]:
    """Return the final model of each encoder and draw, with the value that was chosen on the first encoder.

    Those of the choice are not trained again.

    Args:
        learner: Learner of the models.
        budget: Labels per class.
        entry: The kind of model that is learned.
        advance: Function that is called after each model.
    """

    def learn(encoder: int, draw: int, value: float) -> Model:
        model = entry.learn(budget, entry.origins[encoder], draw, value)
        advance()
        return model

    value, models, best = entry.values[(len(entry.values) - 1) // 2], [], (-1.0, 0.0)
    if draws := _choosing_draws(learner, budget):
        for candidate in entry.values:
            trained = [learn(0, draw, candidate) for draw in range(draws)]
            score = _score(learner, budget, trained)
            if score > best:
                value, models, best = candidate, trained, score
    for encoder in range(len(entry.origins)):
        for draw in range(learner.config.draws):
            known = encoder == 0 and draw < len(models)
            yield Final(encoder, draw, value, models[draw] if known else learn(encoder, draw, value))


def _choosing_draws(learner: Learner, budget: Budget) -> int:
    """Return the number of draws in which the whole grid is run: 0 if there are no validation images to choose on."""
    if not len(learner.data.val):
        return 0
    return 1 if budget == "all" else min(_CHOOSING_DRAWS, learner.config.draws)


def _score(learner: Learner, budget: Budget, models: Sequence[Model]) -> tuple[float, float]:
    """Return mean accuracy on the validation images that a budget affords, and log-likelihood, as few images tie."""
    val, scores = learner.data.val, []
    for draw, model in enumerate(models):
        chosen = draw_labels(val.ids, val.labels, budget, learner.config.seed, draw)
        logits, labels = learner.logits(model, val, chosen), val.labels[chosen]
        if not np.isfinite(logits).all():  # training diverged
            return 0.0, -np.inf
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        likelihoods = shares[np.arange(len(labels)), labels] / shares.sum(axis=1)
        scores.append([(logits.argmax(axis=1) == labels).mean(), np.log(likelihoods.clip(1e-12)).mean()])
    accuracy, likelihood = np.mean(scores, axis=0)
    return float(accuracy), float(likelihood)
