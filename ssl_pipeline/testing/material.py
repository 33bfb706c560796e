"""What plugins are tried on: images made from a seed, and the plainest of everything that goes with a plugin."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.contrast.similarity import cosines, log_mass, total_weight, widened
from ssl_pipeline.randomness import hash64
from ssl_pipeline.types import (
    UNIFORMS,
    Backbone,
    Candidates,
    Encoded,
    Encoder,
    Kept,
    Loss,
    Negatives,
    NegativeStrategy,
    Objective,
    PretextTask,
    Step,
    StepOutput,
    ViewLoss,
    ViewNeeds,
    Views,
)

__all__ = [
    "Agreement",
    "InBatch",
    "Pairs",
    "Plain",
    "PlainViews",
    "SmallBackbone",
    "SmallPatchBackbone",
    "compare_pairs",
    "encoder_on",
    "make_ids",
    "make_images",
    "make_step",
    "make_views",
    "small_encoder",
    "unit_vectors",
]

_TEMPERATURE = 0.2
_MEAN_AND_STD = (0.5, 0.5, 0.5)


def make_images(count: int, size: int, seed: int = 0) -> Tensor:
    """Return blurred random patches (count, 3, S, S) in [0, 1], lighter at the top, so that they have an upright.

    Args:
        count: Number of images.
        size: Side of an image, S, in px.
        seed: Equal seeds give equal images.
    """
    patches = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    blurred = F.interpolate(patches, size=size, mode="bilinear", align_corners=False)
    return 0.7 * blurred + torch.linspace(0.3, 0.0, size)[:, None]


def make_views(task: PretextTask, count: int, size: int, seed: int = 0) -> Views:
    """Return what a task is given: views (count, V, 3, S, S), images under noise of their own, and random numbers."""
    images = make_images(count, size, seed)[:, None]
    generator = torch.Generator().manual_seed(seed + 1)
    views = {
        kind: (images + 0.1 * torch.randn(count, wanted, *images.shape[2:], generator=generator)).clamp(0, 1)
        for kind, wanted in task.views.counts.items()
    }
    return {**views, UNIFORMS: torch.rand(count, task.uniforms, generator=generator)} if task.uniforms else views


def make_step(count: int = 0, seed: int = 0, number: int = 0, total: int = 1) -> Step:
    """Return a step with as many images of a seed.

    Args:
        count: The number of samples.
        seed: The seed of the images, such as that of `make_views`.
        number: The number of the step, from 0.
        total: The number of steps of the training.
    """
    return Step(number, total, epoch=0, seed=0, ids=make_ids(count, seed))


def make_ids(count: int, seed: int) -> Tensor:
    """Return ids (count,) int64 of the images of a seed: hashes, some of them negative, as the pipeline's are."""
    return torch.from_numpy(hash64("conformance", seed, np.arange(count)).view(np.int64))


def unit_vectors(count: int, dim: int, seed: int) -> Tensor:
    """Return random directions (count, dim)."""
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


class SmallBackbone(Backbone):
    """Two convolutions, which are its layers, and a linear one: embeddings of length 16."""

    embedding_dim = 16
    map_channels = (8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, self.embedding_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (N, 3, S, S) to embeddings (N, 16)."""
        embeddings: Tensor = self.head(self.maps(images)[-1])
        return embeddings

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps after each convolution: (N, 8, S / 2, S / 2), (N, 16, S / 4, S / 4)."""
        first = F.relu(self.first(images))
        return [first, F.relu(self.second(first))]


class SmallPatchBackbone(Backbone):
    """Sees patches of 4 px, each where it lies, beside the mean of those shown: embeddings of length 16."""

    embedding_dim, patch_size = 16, 4

    def __init__(self, size: int):
        super().__init__()
        self.embed = nn.Conv2d(3, self.embedding_dim, self.patch_size, self.patch_size)
        self.places = nn.Parameter(0.1 * torch.randn(1, (size // self.patch_size) ** 2, self.embedding_dim))
        self.mix = nn.Linear(2 * self.embedding_dim, self.embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (N, 3, S, S) to embeddings (N, 16)."""
        return self._mixed(self._tokens(images)).mean(dim=1)

    def visible(self, images: Tensor, shown: Tensor) -> Tensor:
        """Return features (N, k, 16) of patches (N, k)."""
        return self._mixed(self._tokens(images).gather(1, shown[..., None].expand(-1, -1, self.embedding_dim)))

    def _tokens(self, images: Tensor) -> Tensor:
        tokens: Tensor = self.embed(images).flatten(2).transpose(1, 2) + self.places
        return tokens

    def _mixed(self, tokens: Tensor) -> Tensor:
        mean = tokens.mean(dim=1, keepdim=True).expand_as(tokens)
        return F.relu(self.mix(torch.cat([tokens, mean], dim=2)))


def encoder_on(backbone: Backbone) -> Encoder:
    """Return an encoder of images whose channels have mean and standard deviation 0.5."""
    return Encoder(backbone, _MEAN_AND_STD, _MEAN_AND_STD)


def small_encoder(seed: int) -> Encoder:
    """Return an encoder with the small backbone, whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return encoder_on(SmallBackbone())


class Plain(Loss):
    """Mean of softplus(log mean exp(s⁻/τ) - s⁺/τ), whose value does not depend on how many negatives there are."""

    energy_name = "negative_cosine"

    def forward(self, anchors: Tensor, positives: Tensor, negatives: Negatives, step: Step) -> StepOutput:
        """Return the mean loss over anchors (A, D) with positives (A, M, D), all unit-norm."""
        positive = cosines(anchors, positives) / _TEMPERATURE
        mass = log_mass(anchors, negatives, 1 / _TEMPERATURE, positives=positive)
        mean = mass.masked_fill(mass == -torch.inf, 0.0) - total_weight(anchors, negatives).clamp(min=1e-6).log()
        return StepOutput(F.softplus(mean[:, None] - positive).mean(), {})

    def energy(self, first: Tensor, second: Tensor) -> Tensor:
        """Return -cos."""
        return -(first * second).sum(dim=1)


class PlainViews(ViewLoss):
    """Mean squared difference of views, and a hinge on the standard deviation of each dimension."""

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of views (V, N, D) and targets (T, N, D)."""
        views, towards = widened(predictions), widened(targets)
        apart = (views[:, None] - towards[None]).square().mean()
        return StepOutput(apart + F.relu(1 - (views.var(dim=1) + 1e-4).sqrt()).mean(), {})


class InBatch(NegativeStrategy):
    """The batch's own keys."""

    def select(self, candidates: Candidates) -> Negatives:
        """Return every key of another sample than the anchor's."""
        return Negatives(candidates.keys, candidates.anchor_samples, candidates.key_samples)


def compare_pairs(embeddings: Tensor, step: Step, loss: Loss, strategy: NegativeStrategy) -> StepOutput:
    """Return the loss of unit-norm embeddings (N, 2, D) of two views per image, each an anchor to the other one."""
    count = len(embeddings)
    anchors = embeddings.transpose(0, 1).flatten(0, 1)  # (2N, D)
    positives = anchors.roll(count, dims=0)
    samples = step.ids.repeat(2)
    negatives = strategy.select(Candidates(anchors, positives, samples, anchors, samples, step))
    value, metrics, kept = loss(anchors, negatives.compatible(positives), negatives, step)
    return StepOutput(value, {**metrics, **negatives.figures}, {"loss": kept, "negatives": negatives.kept})


class _TwoViews(PretextTask):
    """Two views of each image, under a loss of the encoder's own embeddings."""

    def __init__(self, encoder: Encoder, loss: Objective):
        super().__init__()
        self.views = self.views_for({})
        self.encoder = encoder
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            loss.fit_to(encoder.backbone.embedding_dim)

    @classmethod
    def views_for(cls, options: Mapping[str, Any]) -> ViewNeeds:
        """Return two `global` views."""
        del options
        return ViewNeeds("global", 2)

    def _embedded(self, views: Views) -> Tensor:
        """Return embeddings (N, 2, D)."""
        images = views["global"]
        embeddings: Tensor = self.encoder(images.flatten(0, 1)).reshape(len(images), 2, -1)
        return embeddings

    def predict(self, images: Tensor) -> Tensor:
        """Return unit-norm embeddings (N, D)."""
        return F.normalize(self.encoder(images), dim=1)


class Pairs(_TwoViews):
    """Embeddings compared in pairs: losses with negatives, strategies and backbones are tried in it.

    Args:
        encoder: The encoder of the images.
        loss: The loss of pairs.
        negatives: The strategy that chooses what they are held against.
    """

    def __init__(self, encoder: Encoder, loss: Loss, negatives: NegativeStrategy):
        super().__init__(encoder, loss)
        self.loss, self.negatives = loss, negatives

    def forward(self, views: Views) -> Encoded:
        """Return unit-norm embeddings (N, 2, D)."""
        return {"embeddings": F.normalize(self._embedded(views), dim=2)}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Each view is an anchor to the other one of its image."""
        return compare_pairs(encoded["embeddings"], step, self.loss, self.negatives)

    def after_step(self, step: Step, kept: Kept) -> None:
        """Let the loss and the strategy follow."""
        self.loss.after_step(step, kept["loss"])
        self.negatives.after_step(step, kept["negatives"])


class Agreement(_TwoViews):
    """Embeddings held together by a loss without negatives.

    Args:
        encoder: The encoder of the images.
        loss: The loss of views.
    """

    objective = ViewLoss

    def __init__(self, encoder: Encoder, loss: ViewLoss):
        super().__init__(encoder, loss)
        self.loss = loss

    def forward(self, views: Views) -> Encoded:
        """Return embeddings (N, 2, D)."""
        return {"embeddings": self._embedded(views)}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Each view is the other one's target."""
        views = encoded["embeddings"].transpose(0, 1)
        found: StepOutput = self.loss(views, views, step)
        return found

    def after_step(self, step: Step, kept: Kept) -> None:
        """Let the loss follow."""
        self.loss.after_step(step, kept)
