"""How stale remembered keys are: 0 if they resemble new keys, and more the farther the encoder has moved."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.health.negatives import stale_keys, staleness
from ssl_pipeline.parts.memory import Memory

IMAGES = torch.arange(64).repeat(2)
OTHERS = IMAGES + 1000


def keys(seed: int) -> Tensor:
    """Return two views each of 64 images of 8 classes, as a trained encoder of 16 dimensions would embed them."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(8, 16, generator=torch.Generator().manual_seed(99))
    of_images = centres.repeat(8, 1) + 0.5 * torch.randn(64, 16, generator=generator)
    return F.normalize(of_images.repeat(2, 1) + 0.2 * torch.randn(128, 16, generator=generator), dim=1)


def turned(vectors: Tensor, angle: float) -> Tensor:
    """Return the vectors of an encoder whose projections have turned by an angle in each of eight planes."""
    first, second = vectors[:, :8], vectors[:, 8:]
    return torch.cat(
        [math.cos(angle) * first - math.sin(angle) * second, math.sin(angle) * first + math.cos(angle) * second], dim=1
    )


@pytest.mark.parametrize("seed", range(3))
def test_keys_of_other_images_by_the_same_encoder_are_not_stale(seed: int):
    assert abs(staleness(keys(seed), IMAGES, keys(seed + 10), OTHERS).item()) < 0.1


def test_the_farther_the_encoder_has_turned_the_staler_they_are():
    found = [staleness(keys(0), IMAGES, turned(keys(1), angle), OTHERS).item() for angle in (0.2, 0.4, 0.8)]
    assert 0 < found[0] < found[1] < found[2]
    assert found[1] > 0.1


def test_it_is_the_ratio_of_the_distances_of_nearest_keys():
    new, old = keys(0).double(), turned(keys(1), 0.5).double()
    others = IMAGES[:, None] != IMAGES[None]
    near = [((new @ new.T).masked_fill(~others, -9)).amax(1), (new @ old[:126].T).amax(1)]
    expected = (1.01 - near[1].mean()) / (1.01 - near[0].mean()) - 1
    assert staleness(new, IMAGES, old, OTHERS).item() == pytest.approx(expected.item(), rel=1e-9)


def test_an_image_s_own_old_key_is_no_neighbour_of_it():
    assert abs(staleness(keys(0), IMAGES, keys(0), IMAGES).item()) < 0.02
    assert staleness(keys(0), IMAGES, keys(0), OTHERS).item() < -0.2  # as if the keys were of other images


@pytest.mark.parametrize("held", [0, 1, 125])
def test_fewer_keys_than_a_batch_has_cannot_be_old(held: int):
    assert staleness(keys(0), IMAGES, -keys(1)[:held], OTHERS[:held]).item() == 0.0
    assert staleness(keys(0)[:1], IMAGES[:1], -keys(1), OTHERS).item() == 0.0  # no other image to compare with


def test_a_stale_queue_is_told_with_what_to_change():
    assert stale_keys({"key_staleness": 0.1}, "queue_size") == []
    (said,) = stale_keys({"key_staleness": 0.46}, "memory_size")
    assert "the queue is stale" in said.message
    assert "46% farther" in said.message
    assert "pretext_task: {momentum: 0.99}" in said.message
    assert "{memory_size: ...}" in said.message


def test_a_memory_knows_its_oldest_vectors():
    memory = Memory(5)
    assert memory.oldest_places(3).numel() == 0
    memory.push(torch.arange(3.0)[:, None])
    assert memory.vectors[memory.oldest_places(2)].flatten().tolist() == [0, 1]
    memory.push(torch.arange(3.0, 7.0)[:, None])  # 0 and 1 are overwritten
    assert memory.vectors[memory.oldest_places(4)].flatten().tolist() == [2, 3, 4, 5]
    assert memory.vectors[memory.oldest_places(9)].flatten().tolist() == [2, 3, 4, 5, 6]
