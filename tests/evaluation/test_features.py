"""Features of stored images, batch by batch, on real digits."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.evaluation.features import embedder, extract
from ssl_pipeline.loading import load_registry
from ssl_pipeline.types import Encoder
from tests.factories import BACKBONE, MEAN, STD, digit_images, model_card

CPU = torch.device("cpu")
DIGITS = digit_images()[:600]


class Stored:
    """Images that are read back to front."""

    def __len__(self) -> int:
        return len(DIGITS)

    def images(self, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return DIGITS[::-1][positions]


@pytest.fixture
def encoder() -> Encoder:
    return build_encoder(load_registry(), BACKBONE, MEAN, STD, 0, 8)


def test_features_are_those_of_the_whole_images_however_many_are_taken_at_once(encoder: Encoder):
    embed = embedder(FromPixels(model_card(), encoder), CPU)
    assert not encoder.training
    found = extract(embed, Stored())
    images = torch.from_numpy(DIGITS[::-1].copy()).permute(0, 3, 1, 2).double() / 255
    with torch.no_grad():
        expected = encoder.double()(images).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_features_of_some_images_and_of_none(encoder: Encoder):
    embed, positions = embedder(FromPixels(model_card(), encoder), CPU), np.array([7, 3, 7])
    np.testing.assert_array_equal(extract(embed, Stored(), positions), embed(Stored().images(positions)))
    assert extract(embed, Stored(), positions[:0]).shape == (0, 16)
