"""Fine-tuning on real digits of 8 px."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.evaluation.features import embedder, extract
from ssl_pipeline.loading import load_registry
from ssl_pipeline.randomness import hash64, permutation
from ssl_pipeline.training import finetuning
from ssl_pipeline.training.finetuning import Classifier, Lessons, finetune
from ssl_pipeline.training.optimization import learning_rate, parameter_groups
from ssl_pipeline.training.precision import Precision
from tests.factories import BACKBONE, MEAN, STD, model_card

CPU = torch.device("cpu")
FP32 = Precision("fp32", CPU)
POLICY = Policy.model_validate(
    {"size": 8, "random_resized_crop": {"p": 1.0, "scale": [0.7, 1.0], "ratio": [0.85, 1.18]}}
)


@pytest.fixture
def digits(make_pool: Callable[..., Split]) -> Callable[..., Labelled]:
    """Return a function of a number of classes and images that returns labelled digits."""

    def make(classes: int = 3, count: int = 48) -> Labelled:
        split = make_pool(400)
        labels = load_digits().target[:400]  # images of the pool are in the order of the data set
        rows = np.flatnonzero(labels < classes)[:count]
        return Labelled(split, rows, labels[rows], rows)

    return make


def untrained(classes: int = 3, seed: int = 0) -> Classifier:
    encoder = build_encoder(load_registry(), BACKBONE, MEAN, STD, seed, 8)
    generator = torch.Generator().manual_seed(seed)
    return Classifier(encoder, 0.1 * torch.randn(classes, 16, generator=generator), torch.zeros(classes))


def train(classifier: Classifier, data: Labelled, steps: int = 4, **changes: Any) -> Classifier:
    options = {"keep_statistics": False, "precision": FP32} | changes
    lessons = Lessons(data, POLICY, steps, options.pop("batch_size", 16), options.pop("seed", 5))
    finetune(classifier, lessons, 3e-3, 1e-2, **options)
    return classifier


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def accuracy(classifier: Classifier, data: Labelled) -> float:
    weight, bias = (value.numpy(force=True) for value in (classifier.head.weight, classifier.head.bias))
    features = extract(embedder(FromPixels(model_card(), classifier.encoder), CPU), data)
    scores = features @ weight.T + bias
    return float((scores.argmax(axis=1) == data.labels).mean())


def test_it_learns_what_it_is_shown_and_that_carries_over(digits):
    data = digits(3, 110)
    shown, held_out = data.subset(np.arange(60)), data.subset(np.arange(60, 110))
    classifier = train(untrained(), shown, steps=60)
    assert not classifier.training
    assert accuracy(classifier, shown) > 0.95
    assert accuracy(classifier, held_out) > 0.7
    assert accuracy(untrained(), held_out) < 0.6


def test_steps_are_those_of_a_plain_loop(digits):
    """Against torch's own AdamW, on batches that are assembled by hand."""
    data, steps, size = digits(3, 10), 3, 16
    ours, plain = untrained(), untrained()
    train(ours, data, steps, batch_size=size)
    plain.train()
    optimizer = torch.optim.AdamW(parameter_groups(plain, 1e-2), betas=(0.9, 0.999))
    visits = [(data.ids[place], place, number) for number in range(5) for place in permutation(5, number, data.ids)]
    for step in range(steps):
        ids, places, passes = map(np.array, zip(*visits[step * size : (step + 1) * size], strict=True))
        images = torch.from_numpy(data.split.images(data.rows[places]))
        views = make_views({"view": POLICY}, {"view": 1}, images, hash64(ids, passes), 5, 0)["view"][:, 0]
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps, 0.1 * steps, 3e-3)
        loss = F.cross_entropy(plain(views), torch.from_numpy(data.labels[places]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for (name, value), expected in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(value, expected, rtol=2e-3, atol=2e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_half_precision_is_close_and_leaves_the_weights_in_full(digits):
    data = digits()
    full, half = train(untrained(), data, 1), train(untrained(), data, 1, precision=Precision("bf16", CPU))
    assert {value.dtype for value in half.parameters()} == {torch.float32}
    assert not same(full, half)
    for name in ("running_mean", "running_var"):
        of_full, of_half = (model.encoder.backbone.stem[1].get_buffer(name) for model in (full, half))
        torch.testing.assert_close(of_half, of_full, rtol=0.02, atol=0.01)


def test_the_seed_decides_and_nothing_else_does(digits):
    data = digits()
    first = train(untrained(), data)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert same(train(untrained(), data), first)
    assert torch.equal(torch.get_rng_state(), state)  # the caller's generator is unchanged
    assert not same(train(untrained(), data, seed=6), first)


def test_dropout_too_follows_the_seed(digits):
    class Dropping(Classifier):
        def forward(self, images):
            return self.head(F.dropout(self.encoder(images), 0.5, self.training))

    def dropping():
        plain = untrained()
        return Dropping(plain.encoder, plain.head.weight, plain.head.bias)

    data = digits()
    first = train(dropping(), data)
    torch.manual_seed(99)
    assert same(train(dropping(), data), first)


def test_the_head_that_it_starts_from_is_left_as_it_was(digits):
    weight = np.full((3, 16), 0.5, np.float32)
    classifier = Classifier(untrained().encoder, torch.from_numpy(weight), torch.zeros(3))
    train(classifier, digits())
    assert (weight == 0.5).all()
    assert not (classifier.head.weight == 0.5).all()


@pytest.mark.parametrize("keep", [True, False])
def test_statistics_are_kept_or_followed(digits, keep):
    classifier = untrained()
    before = deepcopy(classifier)
    train(classifier, digits(), keep_statistics=keep)
    moved = {
        name.rpartition(".")[2]: not torch.equal(value, before.state_dict()[name])
        for name, value in classifier.state_dict().items()
        if "norm" in name
    }
    assert moved == {"weight": True, "bias": True} | dict.fromkeys(
        ("running_mean", "running_var", "num_batches_tracked"), not keep
    )


def test_one_image_fills_a_batch_with_different_views(digits, monkeypatch):
    seen = []

    def spy(*arguments):
        views = make_views(*arguments)
        seen.append(views["view"].clone())
        return views

    monkeypatch.setattr(finetuning, "make_views", spy)
    train(untrained(), digits(3, 1), steps=2)
    views = torch.cat(seen).flatten(1)
    assert len(views) == 32
    assert len(torch.unique(views, dim=0)) == 32


@pytest.mark.parametrize(("most_bytes", "made"), [(2**25, 2), (0, 4)])
def test_networks_that_learn_from_the_same_lessons_share_the_views_that_are_few_bytes(
    digits, monkeypatch, most_bytes, made
):
    calls = []
    monkeypatch.setattr(finetuning, "MAX_KEPT_BYTES", most_bytes)
    monkeypatch.setattr(finetuning, "make_views", lambda *given: calls.append(given) or make_views(*given))
    lessons = Lessons(digits(), POLICY, 2, 16, 5)
    first, second = untrained(), untrained()
    for network in (first, second):
        finetune(network, lessons, 3e-3, 1e-2, keep_statistics=False, precision=FP32)
    assert len(calls) == made
    assert same(first, second)  # the shared views were not changed


def test_a_subset_keeps_images_labels_and_identities_together(digits):
    data = digits()
    part = data.subset(np.array([7, 3])).subset(np.array([1, 0]))
    assert len(part) == 2
    np.testing.assert_array_equal(part.labels, data.labels[[3, 7]])
    np.testing.assert_array_equal(part.ids, data.ids[[3, 7]])
    np.testing.assert_array_equal(part.images(np.array([0])), data.images(np.array([3])))
