"""A classifier tells digits from their mirror images, but not textures; with too few images there is no verdict."""

import numpy as np
import pytest

from ssl_pipeline.planning.symmetry import tell_apart
from tests.factories import digit_images

COUNT = 300


def alone(count: int) -> np.ndarray:
    return np.arange(count)


@pytest.fixture(scope="module")
def textures() -> np.ndarray:
    """Smooth noise (n, 32, 32, 3), in which no direction is special."""
    noise = np.random.default_rng(0).random((COUNT, 40, 40, 3), np.float32)
    return sum(noise[:, y : y + 32, x : x + 32] for y in range(0, 8, 2) for x in range(0, 8, 2)) / 16


def digits() -> np.ndarray:
    return np.kron(digit_images(COUNT) / np.float32(255), np.ones((1, 4, 4, 1), np.float32))


def test_digits_are_told_from_their_mirrors_and_turns():
    for turn, told in tell_apart(digits(), alone(COUNT)).items():
        assert told.low > 0.75, turn
        assert told.low <= told.share <= told.high


def test_textures_are_not_told_from_their_mirrors_and_turns(textures: np.ndarray):
    found = tell_apart(textures, alone(COUNT))
    assert found.keys() == {"horizontal_flip", "vertical_flip", "quarter_turn"}
    for turn, told in found.items():
        assert told.low < 0.5 < told.high, turn


def test_signs_of_two_directions_are_told_though_their_mean_is_symmetric(textures: np.ndarray):
    """Half of the images point left and have a mark at the top; the others point right and have it at the bottom."""
    images = 0.2 * textures
    images[::2, 8:24, 4:12] += 0.5
    images[::2, 0:4, 14:18] += 0.5
    images[1::2, 8:24, 20:28] += 0.5
    images[1::2, 28:32, 14:18] += 0.5
    found = tell_apart(images, alone(COUNT))
    assert found["horizontal_flip"].low > 0.9


def test_images_of_one_group_are_not_both_learned_from_and_asked_for(textures: np.ndarray):
    """Of ten textures with thirty frames each: what is learned from a frame does not carry over to other textures."""
    frames = np.repeat(textures[:10], 30, axis=0)
    apart = tell_apart(frames, np.repeat(np.arange(10), 30))["horizontal_flip"]
    mixed = tell_apart(frames, alone(COUNT))["horizontal_flip"]
    assert mixed.share == 1.0
    assert apart.share < 0.95
    assert apart.high - apart.low > 0.3  # ten groups count as ten observations


def test_with_too_few_images_nothing_is_said(textures: np.ndarray):
    assert tell_apart(textures[:4], alone(4)) == {}


def test_symmetric_images_decide_nothing():
    grey = np.full((20, 32, 32, 3), 0.5, np.float32)
    told = tell_apart(grey, alone(20))["vertical_flip"]
    assert told.share == 0.5
