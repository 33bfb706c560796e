"""Batches in micro-batches have the gradient of the whole batch, whatever the loss compares in it."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from benchmarks.gradients import IN_FLOAT32, REGISTRY, SIZE, difference, gradients, in_micro_batches, task_of
from ssl_pipeline.testing.material import SmallBackbone, encoder_on, small_encoder
from ssl_pipeline.training import micro_batches
from ssl_pipeline.training.micro_batches import MicroBatches
from tests.training.conftest import stopping
from tests.training.test_pretraining import add_dropout, same_bits

IMAGES, MICRO_BATCH = 36, 16
"""Three micro-batches of 12."""


def in_one_pass(encode):
    return encode(np.arange(IMAGES), 0)


def in_plain_parts(encode):
    """Encode micro-batches and keep all activations, which is the definition of ghost batch norm."""
    parts = [encode(positions, positions[0]) for positions in np.array_split(np.arange(IMAGES), 3)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def noting(batches, seen):
    """Encode as training does, and record the positions that are encoded."""

    def go(encode):
        def encode_noted(positions, place):
            seen.extend(positions.tolist())
            return encode(positions, place)

        return in_micro_batches(batches, IMAGES, encode_noted)

    return go


def begin(task):
    return MicroBatches(task, MICRO_BATCH, torch.device("cpu"))


@pytest.fixture
def no_memory(monkeypatch):
    """Leave no free memory, so that all micro-batches are encoded twice."""
    monkeypatch.setattr(micro_batches, "free_memory", lambda device: 0)


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize("recipe", REGISTRY.names("recipe"))
def test_the_gradient_is_that_of_one_pass(recipe):
    task, seen = task_of(recipe), []
    other = copy.deepcopy(task)
    loss, whole = gradients(task, in_one_pass, IMAGES)
    same_loss, parts = gradients(other, noting(begin(other), seen), IMAGES)

    assert sorted(seen) == sorted([*range(IMAGES)] * 2)
    bound = 2e-6 if recipe in IN_FLOAT32 else 1e-12
    assert same_loss == pytest.approx(loss, rel=bound)
    assert difference(parts, whole) <= bound


class Normed(nn.Module):
    """A batch norm, a small backbone and dropout."""

    def __init__(self, backbone):
        super().__init__()
        self.norm, self.backbone, self.embedding_dim = nn.BatchNorm2d(3), backbone, backbone.embedding_dim

    def forward(self, images):
        return F.dropout(self.backbone(self.norm(images)), 0.3, self.training)


@pytest.mark.parametrize("recipe", ["simclr", "byol"])
@pytest.mark.parametrize("memory", [0, 2**30])
def test_batch_norms_are_ghost_batch_norms_and_dropout_is_drawn_once(recipe, memory, monkeypatch):
    """All bits are equal, including running statistics, whether micro-batches are encoded again or kept in memory."""
    monkeypatch.setattr(micro_batches, "free_memory", lambda device: memory)
    encoder = small_encoder(seed=0)
    encoder.backbone = Normed(encoder.backbone)
    task = task_of(recipe, encoder)
    other = copy.deepcopy(task)
    seen, batches = [], begin(other)
    for _ in range(2):  # the first step finds out what fits
        seen.clear()
        loss, plain = gradients(task, in_plain_parts, IMAGES)
        same_loss, parts = gradients(other, noting(batches, seen), IMAGES, batches.unchanged_buffers)
        assert loss == same_loss
        assert all(torch.equal(plain[name], parts[name]) for name in plain)
        assert same_bits(task, other)
    assert len(seen) == (IMAGES if memory else 2 * IMAGES)


@pytest.mark.usefixtures("no_memory")
@pytest.mark.parametrize(
    ("bytes_of_an_image", "later"),
    [(8, [36]), (10**6, [12, 12, 12, 12, 12])],  # smaller and larger than the activations that a gradient needs
)
def test_views_are_made_together_and_held_where_they_are_small(bytes_of_an_image, later):
    """The first step does not know their size; the views of the last micro-batch are still there for its gradient."""
    encoder, made = nn.Sequential(nn.Linear(1, 64), nn.ReLU(), nn.Linear(64, 64)), []
    batches = MicroBatches(encoder, MICRO_BATCH, torch.device("cpu"))

    def make(positions):
        made.append(len(positions))
        return {"positions": torch.tensor(positions)[:, None].expand(-1, bytes_of_an_image // 8).contiguous()}

    def encode(views, place):
        assert views["positions"][0, 0] == place  # the views belong to these positions
        return {"embeddings": encoder(views["positions"][:, :1].float())}

    for expected in ([12, 12, 12, 12, 12], later):
        made.clear()
        batches.encode(make, encode, np.arange(IMAGES), SIZE)["embeddings"].sum().backward()
        assert made == expected


class Recomputed(SmallBackbone):
    """A backbone with a batch norm, which is recomputed in the backward pass."""

    recomputes = True

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(3)

    def forward(self, images):
        return checkpoint(
            lambda images: super(Recomputed, self).forward(self.norm(images)), images, use_reentrant=False
        )


def test_statistics_follow_once_where_a_backbone_is_computed_again():
    task = task_of("simclr", encoder_on(Recomputed()))
    kept = copy.deepcopy(task)
    gradients(task, in_one_pass, IMAGES, begin(task).unchanged_buffers)
    gradients(kept, in_one_pass, IMAGES)
    assert task.encoder.backbone.norm.num_batches_tracked == 1
    assert kept.encoder.backbone.norm.num_batches_tracked == 2


def test_a_run_in_micro_batches_is_resumed_to_the_bit(run, configure):
    config = configure(recipe="byol", micro_batch=6)
    whole, curves = run(config, name="whole", change=add_dropout)
    with pytest.raises(KeyboardInterrupt):
        run(config, change=lambda task: stopping(add_dropout(task), 5))
    pieced, pieced_curves = run(config, change=add_dropout)
    assert same_bits(whole, pieced)
    assert curves.rows == pieced_curves.rows


def test_a_micro_batch_that_holds_the_batch_changes_no_bit(run, configure):
    whole, _ = run(configure(), name="whole", change=add_dropout)
    same, _ = run(configure(micro_batch=16), change=add_dropout)
    other, _ = run(configure(micro_batch=8), name="other", change=add_dropout)
    assert same_bits(whole, same)
    assert not same_bits(whole, other)
