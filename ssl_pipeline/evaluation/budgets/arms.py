"""Train the arms of the label-budget study on the labels of one draw, and compute their class scores."""

from math import ceil

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ssl_pipeline.artifacts.assembly import untrained
from ssl_pipeline.config import FinetuneConfig
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.evaluation.budgets.inputs import BudgetInputs
from ssl_pipeline.evaluation.budgets.label_draws import Budget, draw_labels
from ssl_pipeline.evaluation.budgets.origins import Frozen, Origin
from ssl_pipeline.evaluation.features import embedder, extract
from ssl_pipeline.evaluation.linear_probe import fit_at
from ssl_pipeline.randomness import hash64
from ssl_pipeline.training.finetuning import Classifier, Lessons, finetune
from ssl_pipeline.types import Encoder

__all__ = ["Learner", "Model"]

Array = npt.NDArray[np.int64]
Model = Frozen | Classifier


class Learner:
    """A trainer of the study's models, one at a time.

    Args:
        settings: Section `finetune` of params.yaml.
        inputs: Encoders to compare, and the images to compare them on.
    """

    def __init__(self, settings: FinetuneConfig, inputs: BudgetInputs):
        self.config, self.data, self.card = settings, inputs.data, inputs.card
        self.registry, self.policy, self.precision = inputs.registry, inputs.policy, inputs.precision
        self._lessons: tuple[Budget | None, dict[int, Lessons]] = None, {}  # lessons of one budget, by draw

    def given(self, encoder: Encoder) -> Origin:
        """Return an origin with one encoder, the same in every draw."""
        return Origin(
            lambda _: encoder, same=True, pool=self.data.train.split, card=self.card, device=self.precision.device
        )

    def random(self) -> Origin:
        """Return an origin with random weights and the pretrained encoder's network, in grey if that one sees grey."""

        def make(draw: int) -> Encoder:
            encoder = untrained(self.registry, self.card, self.seed(draw))
            return encoder.in_grayscale() if self.card.grayscale else encoder

        return Origin(make, same=False, pool=self.data.train.split, card=self.card, device=self.precision.device)

    def logits(self, model: Model, part: Labelled, positions: Array) -> npt.NDArray[np.float32]:
        """Return class scores (m, C) of the images of val or test at positions (m,)."""
        if isinstance(model, Frozen):
            weight, bias = model.probe.weight, model.probe.bias
            features = model.origin.features(model.draw, part, positions)
        else:
            weight, bias = (value.numpy(force=True) for value in (model.head.weight, model.head.bias))
            network = FromPixels(self.card, model.encoder)
            features = extract(embedder(network, self.precision.device), part, positions)
        return np.asarray(features @ weight.T + bias)

    def fit(self, budget: Budget, origin: Origin, draw: int, strength: float) -> Frozen:
        """Return a probe fitted to a draw's labels on the features of its encoder."""
        if budget == "all" and origin.same and draw > 0:  # the same labels and features as in draw 0
            return Frozen(origin, draw, origin.probes[0])
        chosen, labels = self.drawn(budget, draw), self.data.train.labels
        features = origin.features(draw, self.data.train, chosen)
        return Frozen(origin, draw, fit_at(features, labels[chosen], strength, class_count=len(self.data.classes)))

    def tune(self, budget: Budget, origin: Origin, draw: int, rate: float) -> Classifier:
        """Fine-tune a draw's encoder, with its probe as the head."""
        weight, bias = (torch.from_numpy(value) for value in (origin.probes[draw].weight, origin.probes[draw].bias))
        classifier = Classifier(origin.encoder(draw), weight, bias)
        # statistics of the whole pool are more reliable than those of a few dozen images
        few = len(self.drawn(budget, draw)) < self.config.batch_size
        return self._train(classifier, budget, draw, rate, keep_statistics=few)

    def train_from_scratch(self, budget: Budget, _: Origin, draw: int, rate: float) -> Classifier:
        """Train random weights in the usual way: with torch's initial head, and statistics from the batches."""
        encoder, seed = untrained(self.registry, self.card, self.seed(draw)), self.seed(draw)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            head = nn.Linear(encoder.embedding_dim, len(self.data.classes))
        classifier = Classifier(encoder, head.weight, head.bias)
        return self._train(classifier, budget, draw, rate, keep_statistics=False)

    def _train(
        self, classifier: Classifier, budget: Budget, draw: int, rate: float, *, keep_statistics: bool
    ) -> Classifier:
        """Train a classifier on the labels of a draw, with the same views and steps for every arm."""
        finetune(
            classifier,
            self.lessons(budget, draw),
            rate,
            self.config.weight_decay,
            keep_statistics=keep_statistics,
            precision=self.precision,
        )
        return classifier

    def lessons(self, budget: Budget, draw: int) -> Lessons:
        """Return the lessons that all arms share in a draw of a budget; only those of the latest budget are cached."""
        if self._lessons[0] != budget:
            self._lessons = budget, {}
        known = self._lessons[1]
        if draw not in known:
            config, chosen = self.config, self.drawn(budget, draw)
            steps = max(config.steps, config.epochs * ceil(len(chosen) / config.batch_size))
            data = self.data.train.subset(chosen)
            known[draw] = Lessons(data, self.policy, steps, config.batch_size, self.seed(draw))
        return known[draw]

    def seed(self, draw: int) -> int:
        """Return the seed of a draw, for its random weights, its views and the order of its images."""
        return int(hash64(self.config.seed, "finetune", draw)) >> 1

    def drawn(self, budget: Budget, draw: int) -> Array:
        """Return the positions of the training images whose labels a draw may use."""
        train = self.data.train
        return draw_labels(train.ids, train.labels, budget, self.config.seed, draw)
