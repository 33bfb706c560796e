"""Choose a learning rate or a probe's strength on validation images, and train the final models with the choice."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ssl_pipeline.evaluation.budgets.arms import Learner, Model
from ssl_pipeline.evaluation.budgets.label_draws import Budget, draw_labels
from ssl_pipeline.evaluation.budgets.origins import Origin
from ssl_pipeline.evaluation.budgets.outcome import Arm

__all__ = ["Contestant", "Final", "final_models", "model_count"]

_CHOOSING_DRAWS = 2
"""Number of draws in which the whole grid is run; the other draws adopt the choice. With all labels the draws are
identical, and one is enough."""


@dataclass(frozen=True)
class Contestant:
    """One kind of model to choose and train at a budget: the probe of an arm's encoders, or the arm itself.

    Attributes:
        arm: Arm under which it is reported; None if it only initialises the heads of an arm.
        origins: Origins that it starts from; the encoder that ships comes first.
        values: Grid of learning rates or strengths to choose from.
        learn: Function that trains a model, given a budget, an origin, a draw and a value of the grid.
    """

    arm: Arm | None
    origins: Sequence[Origin]
    values: Sequence[float]
    learn: Callable[[Budget, Origin, int, float], Model]


@dataclass(frozen=True)
class Final:
    """A model to test.

    Attributes:
        encoder: Number of the origin, from 0.
        draw: Number of the draw of labels, from 0.
        chosen: Chosen learning rate, or the probe's strength.
        model: Trained model.
    """

    encoder: int
    draw: int
    chosen: float
    model: Model


def model_count(learner: Learner, budget: Budget, entry: Contestant) -> int:
    """Return the number of models that an entry trains at a budget."""
    return learner.config.draws * len(entry.origins) + _choosing_draws(learner, budget) * (len(entry.values) - 1)


def final_models(learner: Learner, budget: Budget, entry: Contestant, advance: Callable[[], object]) -> Iterator[Final]:
    """Yield the final model of each encoder and draw, with the value that was chosen on the first encoder.

    Models that were trained for the choice are reused.

    Args:
        learner: Trainer of the models.
        budget: Number of labels per class.
        entry: Kind of model to train.
        advance: Function to call after each model.
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
    """Return mean accuracy on the validation images that a budget affords, and their log-likelihood to break ties."""
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
