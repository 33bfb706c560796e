"""The map of embeddings: neighbours stay neighbours, equal input gives an equal map, and odd embeddings fit on it."""

import numpy as np
import pytest

from ssl_pipeline.page.embedding_map import Features, lay_out, principal


def groups(count: int, of_each: int, dim: int = 16) -> Features:
    """Return unit embeddings around a few centres, one group after the other."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(count, 1, dim))
    found = (centres + 0.1 * generator.normal(size=(count, of_each, dim))).reshape(-1, dim).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def test_images_of_a_group_lie_together_and_the_map_is_filled():
    places = lay_out(groups(4, 30))
    middles = places.reshape(4, 30, 2).mean(axis=1)
    nearest = np.linalg.norm(places[:, None] - middles, axis=2).argmin(axis=1)
    assert (nearest == np.repeat(np.arange(4), 30)).all()
    assert np.ptp(places, axis=0).max() == pytest.approx(1.0)
    assert places.min() >= 0
    assert places.max() <= 1


def test_the_same_embeddings_have_the_same_map():
    embeddings = groups(3, 20)
    np.testing.assert_array_equal(lay_out(embeddings), lay_out(embeddings))


@pytest.mark.parametrize(
    "embeddings", [groups(1, 1), groups(2, 1), groups(1, 4), np.ones((50, 8), np.float32), np.zeros((1, 1), np.float32)]
)
def test_few_images_or_a_collapsed_encoder_have_a_map(embeddings: Features):
    places = lay_out(embeddings)
    assert places.shape == (len(embeddings), 2)
    assert np.isfinite(places).all()
    assert places.min() >= 0
    assert places.max() <= 1


def test_copies_of_one_image_have_a_map():
    embeddings = np.concatenate([np.repeat(groups(1, 1), 40, axis=0), groups(5, 1)])
    assert np.isfinite(lay_out(embeddings)).all()


def test_components_are_those_of_most_variance_and_do_not_change_sign():
    generator = np.random.default_rng(1)
    embeddings = (generator.normal(size=(200, 5)) * [1, 9, 1, 3, 1]).astype(np.float32)
    found = principal(embeddings)
    assert abs(np.corrcoef(found[:, 0], embeddings[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(found[:, 1], embeddings[:, 3])[0, 1]) > 0.99
    np.testing.assert_allclose(found, principal(embeddings[::-1])[::-1], atol=1e-4)
