"""Features of stored images, batch by batch, on real digits."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from ssl_pipeline import ranks
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.from_pixels import FromPixels
from ssl_pipeline.evaluation.features import Kept, embedder, extract
from ssl_pipeline.evaluation.seen_images import SeenImages
from ssl_pipeline.loading import load_registry
from ssl_pipeline.types import Encoder
from tests.evaluation.shared import COUNT, Numbered, in_company
from tests.factories import BACKBONE, MEAN, STD, digit_images, model_card
from tests.pair import second_rank

CPU = torch.device("cpu")
DIGITS = digit_images()[:600]


class Stored:
    """Images in reverse order."""

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


def a_split(name: str, images: npt.NDArray[np.uint8]) -> Split:
    ids = np.arange(len(images), dtype=np.uint64)
    return Split(name, 8, ids, MEAN, STD, sha256=f"digest of {name}", shards=(images,))


def test_an_encoder_that_remembers_embeds_each_image_once_for_all_who_ask():
    train, val = a_split("train", DIGITS[:300]), a_split("val", DIGITS[300:340])
    met = []

    def embed(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        met.append(len(images))
        return images.reshape(len(images), -1).astype(np.float32)

    kept = Kept(embed)
    rows = np.arange(300)[::2]
    half = Labelled(train, rows, np.zeros(150, np.int64), rows)
    places = np.concatenate([np.arange(20), 3 * np.arange(30), np.arange(20, 40)])
    seen = SeenImages((train, val), np.repeat([1, 0, 1], [20, 30, 20]), places, places, places)
    for images in (half, seen, train, seen, half):
        np.testing.assert_array_equal(extract(kept, images), embed(images.images(np.arange(len(images)))))
        met.pop()  # the call for the comparison
    assert sum(met) == 300 + 40
    backwards = np.arange(150)[::-1]
    np.testing.assert_array_equal(extract(kept, half, backwards), extract(kept, half)[::-1])
    assert extract(kept, train, rows[:0]).shape == (0, 192)
    assert sum(met) == 300 + 40
    assert len(extract(kept, Stored())) == len(DIGITS)  # no split: they may be other images the next time
    assert sum(met) == 300 + 40 + len(DIGITS)


def test_two_ranks_embed_shares_and_each_has_the_bytes_of_one(monkeypatch: pytest.MonkeyPatch):
    embedded = []

    def counted(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        embedded.append(len(images))
        return in_company(images)

    whole = extract(in_company, Numbered())
    assert len(whole) == COUNT
    with second_rank(monkeypatch, "-m", "tests.evaluation.shared"), ranks.joined():
        found = extract(counted, Numbered())
        assert ranks.gathered(found.tobytes()) == [whole.tobytes()] * 2
    assert embedded == [256]  # the other rank embeds 256 and 88
    assert extract(counted, Numbered()).tobytes() == whole.tobytes()
