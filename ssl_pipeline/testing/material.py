"""Material for testing plugins: images made from a seed, and the simplest plugin of each kind that others need."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.contrast.similarity import cosines, log_mass, total_weight, widened
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.randomness import hash64
from ssl_pipeline.tokenizer import END, PADDING, START
from ssl_pipeline.types import (
    CAPTIONS,
    TEACHER,
    TOKENS,
    UNIFORMS,
    Backbone,
    Candidates,
    Encoder,
    Loss,
    Negatives,
    NegativeStrategy,
    PretextTask,
    Step,
    StepOutput,
    TaughtLoss,
    TextNeeds,
    ViewLoss,
    Views,
)

__all__ = [
    "BANDS",
    "InBatch",
    "Plain",
    "PlainTaught",
    "PlainViews",
    "SmallBackbone",
    "SmallPatchBackbone",
    "drawn_from",
    "encoder_on",
    "make_captions",
    "make_ids",
    "make_images",
    "make_step",
    "make_targets",
    "make_views",
    "small_encoder",
    "unit_vectors",
]

_TEMPERATURE = 0.2
_MEAN_AND_STD = 0.5

BANDS = ImageSpec(channels=5, dtype="float32", low=-20.0, high=60.0)
"""Images that are not RGB, on which plugins that need no colours are tested as well."""


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """Seed torch's CPU generator within the block, and restore its state afterwards.

    `torch.manual_seed` is not used, as it also handles all other types of device, and formats the whole call stack for
    each one that is not in use.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def make_images(count: int, size: int, seed: int = 0, channels: int = 3) -> Tensor:
    """Return blurred random patches (count, C, S, S) in [0, 1], lighter at the top, so that their orientation shows.

    Args:
        count: Number of images.
        size: S, the side of an image, in px.
        seed: The seed of the images; equal seeds give equal images.
        channels: C, the number of channels.
    """
    patches = torch.rand(count, channels, 4, 4, generator=torch.Generator().manual_seed(seed))
    blurred = F.interpolate(patches, size=size, mode="bilinear", align_corners=False)
    return 0.7 * blurred + torch.linspace(0.3, 0.0, size)[:, None]


def make_views(task: PretextTask, count: int, size: int, seed: int = 0) -> Views:
    """Return the inputs of a task: views (count, V, C, S, S), which are images with independent noise, and the rest.

    These are random numbers; for a task that reads captions, captions, of which the first three images have two each,
    and the second image has the first image's; and for a task with a teacher, a random linear map of the images.
    Views of several frames of a clip show an image that moves to the right by an eighth of its side per frame.
    """
    images = make_images(count, size, seed, task.encoder.images.channels)[:, None]
    generator = torch.Generator().manual_seed(seed + 1)
    views = {}
    for kind, wanted in task.views.counts.items():
        drifts = task.views.frames is not None and kind == task.views.main
        shown = torch.cat([images.roll(drifts * number * size // 8, 4) for number in range(wanted)], dim=1)
        noise = torch.randn(count, wanted, *images.shape[2:], generator=generator)
        views[kind] = (shown + 0.1 * noise).clamp(0, 1)
    if task.uniforms:
        views[UNIFORMS] = torch.rand(count, task.uniforms, generator=generator)
    if task.teaching is not None:
        shown = views[task.views.main] if task.teaching.targets == "views" else images
        views[TEACHER] = make_targets(shown, task.teaching.dim)
    return views if task.text_tower is None else {**views, **make_captions(task.text_tower.needs, count, seed)}


def make_targets(images: Tensor, dim: int) -> Tensor:
    """Return a teacher's embeddings (count, T, dim) of images (count, T, C, S, S): a random map of 4 x 4 means."""
    means = F.adaptive_avg_pool2d(images.flatten(0, 1), 4).flatten(1)
    mapped: Tensor = (means - 0.5) @ torch.randn(means.shape[1], dim, generator=torch.Generator().manual_seed(0))
    return mapped.reshape(*images.shape[:2], dim)


def make_captions(needs: TextNeeds, count: int, seed: int) -> Views:
    """Return tokens (count, L) of random captions of various lengths, and the ids (count, 2) of all captions."""
    generator = torch.Generator().manual_seed(seed + 2)
    tokens = torch.randint(END + 1, needs.vocabulary, (count, needs.context), generator=generator)
    lengths = torch.randint(1, needs.context - 1, (count, 1), generator=generator)  # without start and end
    places = torch.arange(needs.context)
    tokens = tokens.where(places <= lengths, END).where(places <= lengths + 1, PADDING)
    tokens[:, 0] = START
    ids, others = make_ids(count, seed + 3), make_ids(count, seed + 4)
    tokens[1:2], ids[1:2] = tokens[:1], ids[:1]
    second = ids.where(torch.arange(count) >= 3, others)
    return {TOKENS: tokens, CAPTIONS: torch.stack([ids, second], dim=1)}


def make_step(count: int = 0, seed: int = 0, number: int = 0, total: int = 1) -> Step:
    """Return a training step.

    Args:
        count: The number of images of the step.
        seed: The seed of the images, such as that of `make_views`.
        number: The number of the step, from 0.
        total: The number of steps of the run.
    """
    return Step(number, total, epoch=0, seed=0, ids=make_ids(count, seed))


def make_ids(count: int, seed: int) -> Tensor:
    """Return ids (count,) int64 of the images of a seed: hashes, some of which are negative, as in the pipeline."""
    return torch.from_numpy(hash64("conformance", seed, np.arange(count)).view(np.int64))


def unit_vectors(count: int, dim: int, seed: int) -> Tensor:
    """Return random unit vectors (count, dim)."""
    return F.normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


class SmallBackbone(Backbone):
    """A backbone of two convolutions, which are its layers, and a linear layer; its embeddings have length 16."""

    embedding_dim = 16
    map_channels = (8, 16)

    def __init__(self, in_channels: int = 3):
        super().__init__()
        self.first, self.second = nn.Conv2d(in_channels, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, self.embedding_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (N, C, S, S) to embeddings (N, 16)."""
        embeddings: Tensor = self.head(self.maps(images)[-1])
        return embeddings

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the maps after each convolution: (N, 8, S / 2, S / 2), (N, 16, S / 4, S / 4)."""
        first = F.relu(self.first(images))
        return [first, F.relu(self.second(first))]


class SmallPatchBackbone(Backbone):
    """A backbone that combines each patch of 4 px and its position with the mean of all; embeddings have length 16."""

    embedding_dim, patch_size = 16, 4

    def __init__(self, size: int, in_channels: int = 3):
        super().__init__()
        self.embed = nn.Conv2d(in_channels, self.embedding_dim, self.patch_size, self.patch_size)
        self.places = nn.Parameter(0.1 * torch.randn(1, (size // self.patch_size) ** 2, self.embedding_dim))
        self.mix = nn.Linear(2 * self.embedding_dim, self.embedding_dim)

    def forward(self, images: Tensor) -> Tensor:
        """Map normalised images (N, C, S, S) to embeddings (N, 16)."""
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


def encoder_on(backbone: Backbone, images: ImageSpec = RGB8) -> Encoder:
    """Return an encoder with a backbone, for images whose channels have mean 0.5 and standard deviation 0.5."""
    each = (_MEAN_AND_STD,) * images.channels
    return Encoder(backbone, each, each, images)


def small_encoder(seed: int) -> Encoder:
    """Return an encoder with the small backbone, whose weights depend only on the seed."""
    with drawn_from(seed):
        return encoder_on(SmallBackbone())


class Plain(Loss):
    """Mean of softplus(log mean exp(s⁻/τ) - s⁺/τ), whose value does not depend on the number of negatives."""

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
    """Mean squared difference between views, plus a hinge on the standard deviation of each dimension."""

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of views (V, N, D) and targets (T, N, D)."""
        views, towards = widened(predictions), widened(targets)
        apart = (views[:, None] - towards[None]).square().mean()
        return StepOutput(apart + F.relu(1 - (views.var(dim=1) + 1e-4).sqrt()).mean(), {})


class PlainTaught(TaughtLoss):
    """Mean squared difference between predictions and a teacher's embeddings."""

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of predictions (V, N, D) and targets (T, N, D)."""
        return StepOutput((widened(predictions) - widened(targets)).square().mean(), {})


class InBatch(NegativeStrategy):
    """The keys of the batch."""

    def select(self, candidates: Candidates) -> Negatives:
        """Return all keys of the batch except those of the anchor's image."""
        return candidates.negatives()
