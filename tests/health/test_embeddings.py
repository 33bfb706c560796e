import math

import numpy as np
import pytest
from sklearn.datasets import load_digits

from ssl_pipeline.health import embeddings


def digits() -> np.ndarray:
    return load_digits().data[:1500].astype(np.float32)  # more than one tile, the last one incomplete


def gaussian(n: int, d: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((n, d))


def test_effective_rank_is_the_papers_formula():
    z = digits()
    singular = np.linalg.svd(z.astype(np.float64), compute_uv=False)
    p = singular / np.abs(singular).sum() + 1e-7
    assert embeddings.effective_rank(z) == pytest.approx(math.exp(-sum(x * math.log(x) for x in p)), rel=1e-10)


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_effective_rank_counts_equal_directions(rank):
    z = np.tile(np.eye(8)[:rank], (5, 1))
    assert embeddings.effective_rank(z) == pytest.approx(rank, abs=1e-4)


def test_effective_rank_of_fewer_embeddings_than_dimensions():
    assert embeddings.effective_rank(np.eye(64)[:5]) == pytest.approx(5, abs=1e-3)


def test_uniformity_equals_the_mean_over_all_pairs():
    z = digits()[:1100].astype(np.float64)
    unit = z / np.sqrt((z**2).sum(1, keepdims=True))
    sums = [np.exp(-2 * ((unit[i] - unit[i + 1 :]) ** 2).sum(1)).sum() for i in range(len(z))]
    assert embeddings.uniformity(z) == pytest.approx(math.log(sum(sums) / (1100 * 1099 / 2)), rel=1e-9)


def test_uniformity_at_its_ends():
    assert embeddings.uniformity(np.ones((50, 4))) == pytest.approx(0, abs=1e-12)
    assert embeddings.uniformity(np.array([[3.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)
    assert embeddings.uniformity(gaussian(2000, 512)) == pytest.approx(-4, abs=0.02)
    with pytest.raises(ValueError, match="2 embeddings"):
        embeddings.uniformity(np.ones((1, 4)))


def test_embedding_std_at_its_ends():
    assert embeddings.embedding_std(np.tile([1.0, 2.0, 3.0], (9, 1))) == pytest.approx(0, abs=1e-12)
    assert embeddings.embedding_std(gaussian(5000, 32)) == pytest.approx(1, abs=0.01)


def test_embedding_std_by_hand():
    z = np.array([[2.0, 0.0], [0.0, 5.0]])  # unit: std 1/2 in both dimensions
    assert embeddings.embedding_std(z) == pytest.approx(0.5 * math.sqrt(2))


def test_alignment_by_hand_and_at_its_ends():
    z = gaussian(7, 3)
    assert embeddings.alignment(z, 4 * z) == pytest.approx(0, abs=1e-12)
    assert embeddings.alignment(z, -z) == pytest.approx(4)
    assert embeddings.alignment(np.array([[1.0, 0.0]]), np.array([[0.0, 9.0]])) == pytest.approx(2)


def test_an_image_is_found_by_its_other_view_or_not():
    views = np.eye(4)
    other = np.array([[2, 1, 0, 0], [1, 0.5, 0, 0], [0, 0, 1, 0], [0, 0, 0, 9.0]])  # the second looks like the first
    assert embeddings.view_recall(views, other) == pytest.approx((3 / 4 + 2 / 4) / 2)  # conversely, two tie
    assert embeddings.view_recall(views, 5 * views) == 1
    assert embeddings.view_recall(np.ones((4, 3)), np.ones((4, 3))) == 0
    assert embeddings.view_recall(np.ones((1, 3)), np.ones((1, 3))) == 1
    assert math.isnan(embeddings.view_recall(views, views * np.nan))


@pytest.mark.parametrize("measure", [embeddings.embedding_std, embeddings.effective_rank, embeddings.uniformity])
def test_length_of_embeddings_and_dead_ones(measure):
    z = digits()[:64]
    assert measure(z) == pytest.approx(measure(3 * z), rel=1e-6)
    assert math.isfinite(measure(np.zeros((4, 8))))
    broken = z.copy()
    broken[3, 3] = np.nan
    assert math.isnan(measure(broken))


def test_memory_does_not_grow_with_the_square_of_n():
    import tracemalloc

    z = np.ones((6000, 4))
    tracemalloc.start()
    embeddings.uniformity(z)
    embeddings.effective_rank(z)
    embeddings.view_recall(z, z)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6  # 6000 x 6000 float64 would be 288 MB
