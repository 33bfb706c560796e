"""Stability finds the clusters that are there, and no others; figures are scikit-learn's."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from ssl_pipeline.evaluation.clustering import agreement, cluster, distinct, energies, grid
from tests.evaluation.blobs import blobs


@pytest.mark.parametrize("count", [3, 7, 12])
def test_the_most_stable_k_is_that_of_well_separated_blobs(count: int):
    images, views = blobs(range(count))
    found = cluster(images, views, range(2, 20), runs=3, seed=0)
    assert found.best_k == count
    assert found.stability[count] == pytest.approx(1, abs=0.02)
    assert found.stability[count + 4] < 0.95


def test_of_two_levels_that_are_as_stable_the_finer_one_counts():
    """Three far groups of two near blobs each: both 3 and 6 are perfectly stable."""
    fine, _ = blobs(range(6), noise=0.02)
    coarse = np.repeat(np.eye(32, dtype=np.float32)[20:23], 80, axis=0)
    images = fine + 3 * coarse
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    found = cluster(images, images, range(2, 10), runs=3, seed=0)
    assert found.stability[3] == pytest.approx(1)
    assert found.best_k == 6


def test_noise_is_not_stable():
    images, views = blobs([0], each=400, noise=5.0)
    assert max(cluster(images, views, [2, 5, 10], runs=3, seed=0).stability.values()) < 0.5


def test_views_that_move_images_to_other_clusters_cost_stability():
    images, views = blobs(range(5))
    shuffled = np.random.default_rng(0).permutation(views)
    assert cluster(images, views, [5], runs=3, seed=0).stability[5] > 0.98
    assert abs(cluster(images, shuffled, [5], runs=3, seed=0).stability[5]) < 0.1


def test_stability_is_the_mean_over_ordered_pairs_of_runs():
    images, views = blobs(range(5), noise=0.3)
    of_images = cluster(images, images, [4], runs=2, seed=0)
    assert of_images.stability[4] == pytest.approx(adjusted_rand_score(*of_images.assignments[4]))
    assert of_images.stability[4] < 1
    assert cluster(images, views, [4], runs=2, seed=0).stability[4] < of_images.stability[4]


def test_each_run_is_fitted_on_another_half(monkeypatch: pytest.MonkeyPatch):
    fitted, fit = [], KMeans.fit
    monkeypatch.setattr(KMeans, "fit", lambda self, rows: fitted.append(rows) or fit(self, rows))
    cluster(*blobs(range(5), each=9), [3], runs=3, seed=0)
    assert [len(rows) for rows in fitted] == [23] * 3
    assert len({rows.tobytes() for rows in fitted}) == 3


def test_equal_seeds_equal_clusters():
    images, views = blobs(range(5), noise=0.3)
    one, again, other = (cluster(images, views, [7], runs=3, seed=seed) for seed in (1, 1, 9))
    np.testing.assert_array_equal(one.assignments[7], again.assignments[7])
    assert one.stability == again.stability
    assert (one.assignments[7] != other.assignments[7]).any()


def test_fewer_different_embeddings_than_clusters_is_no_error():
    images, views = blobs([0, 1], noise=0.0)
    assert set(cluster(images, views, [5], runs=2, seed=0).assignments[5].ravel()) <= {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("images", "classes", "first", "last"),
    [(2000, 10, 2, 40), (2000, 100, 2, 400), (2000, 0, 2, 40), (100, 10, 2, 20), (10, 0, 2, 2), (9, 3, None, None)],
)
def test_the_range_of_k(images, classes, first, last):
    ks = grid(images, classes)
    assert ([ks[0], ks[-1]] if ks else [None, None]) == [first, last]
    assert ks == sorted(set(ks))
    if last == 4 * classes:
        assert {classes - 1, classes, classes + 1, 2 * classes} <= set(ks)


def test_agreement_of_known_clusters():
    labels = np.repeat([0, 1], 4)
    split = agreement(np.array([[0, 0, 1, 1, 2, 2, 3, 3]]), labels)
    assert (split.homogeneity, split.completeness) == pytest.approx((1, 0.5))
    assert (split.v_measure, split.nmi) == pytest.approx((2 / 3, np.sqrt(0.5)))
    merged = agreement(np.array([[0] * 8, [0] * 4 + [1] * 4]), labels)
    assert (merged.homogeneity, merged.completeness) == pytest.approx((0.5, 1))


def test_energies_are_negative_cosines_of_pairs():
    embeddings = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], np.float32)
    found = energies(embeddings, np.array([0, 0, 1, 1]))
    assert found["intra"]["mean"] == pytest.approx(-(1 + 0.8) / 2)
    assert found["inter"]["mean"] == pytest.approx(-(0 + 0.6 + 0 + 0.6) / 4)
    assert found["inter"]["median"] == pytest.approx(-0.3)
    assert found["auroc"] == 1.0 == roc_auc_score([1, 1, 0, 0], [1, 0.8, 0, 0.6])
    swapped = energies(embeddings, np.array([0, 1, 0, 1]))
    assert swapped["auroc"] < 0.5


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [0], []])
def test_no_energies_without_pairs_of_either_sort(labels):
    assert energies(np.eye(3, dtype=np.float32)[: len(labels)], np.array(labels, np.int64)) == {}


def test_rounding_makes_no_embedding_different():
    rounding = np.random.default_rng(0).normal(size=(50, 64)) * 1e-7
    assert distinct((0.123455 + rounding).astype(np.float32)) == 1
    assert distinct(np.eye(4, dtype=np.float32)) == 4
