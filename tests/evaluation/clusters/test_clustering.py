"""Stability finds the clusters that exist, and no others; figures are scikit-learn's."""

import numpy as np
import pytest
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, roc_auc_score

from ssl_pipeline.evaluation.clusters.clustering import Clusterings, agreement, cluster, distinct, energies, grid
from tests.evaluation.clusters.blobs import blobs


@pytest.mark.parametrize("count", [3, 7, 12])
def test_the_most_stable_k_is_that_of_well_separated_blobs(count: int):
    images, views, alone = blobs(range(count))
    found = cluster(images, views, alone, range(2, 20), runs=3, seed=0)
    assert found.preferred() == count
    assert found.stability[count] == pytest.approx(1, abs=0.02)
    assert found.stability[count + 4] < 0.95


def test_of_two_levels_that_are_as_stable_the_finer_one_counts():
    """Three distant groups have two close blobs each: both 3 and 6 clusters are perfectly stable."""
    fine, _, alone = blobs(range(6), noise=0.02)
    coarse = np.repeat(np.eye(32, dtype=np.float32)[20:23], 80, axis=0)
    images = fine + 3 * coarse
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    found = cluster(images, images, alone, range(2, 10), runs=3, seed=0)
    assert found.stability[3] == pytest.approx(1)
    assert found.preferred() == 6


@pytest.mark.parametrize(
    ("stability", "classes", "best"),
    [
        ({2: 1.0, 3: 0.6, 4: 0.7, 5: 0.9, 6: 0.8}, 0, 2),
        ({2: 1.0, 3: 0.6, 4: 0.7, 5: 0.9, 6: 0.8}, 3, 5),
        ({2: 1.0, 3: 0.6, 4: 0.7, 5: 0.9, 6: 0.895}, 3, 6),
        ({2: 1.0, 3: 0.6, 4: 0.9, 5: 0.8, 6: 0.7}, 5, 4),
        ({2: 0.9, 3: 0.7, 4: 0.8, 5: 0.795, 6: 0.7}, 5, 5),
        ({2: 1.0, 3: 0.9, 4: 0.8, 5: 0.7, 6: 0.6}, 4, 2),
        ({2: 0.94, 3: 0.92, 4: 0.91, 5: 0.902, 6: 0.9}, 4, 2),
    ],
    ids=["of all", "from the classes on", "the finest", "the peak", "as stable", "to the edge", "slowly to the edge"],
)
def test_the_preferred_number_is_a_peak_from_the_number_of_classes_on(stability, classes, best):
    assert Clusterings({}, stability).preferred(classes) == best


@pytest.mark.parametrize("sizes", [[1] * 91, [7] * 13, [30, 30, 1, 1, 29], [80, 5, 6]])
def test_a_half_is_of_whole_groups(monkeypatch: pytest.MonkeyPatch, sizes):
    groups = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    images = np.stack([groups, np.arange(91)], axis=1).astype(np.float32)
    fitted, fit = [], KMeans.fit
    monkeypatch.setattr(KMeans, "fit", lambda self, rows: fitted.append(rows) or fit(self, rows))
    cluster(images, images, groups, [3], runs=4, seed=0)
    for rows in fitted:
        numbers, counts = np.unique(rows[:, 0].astype(int), return_counts=True)
        assert counts.tolist() == [sizes[number] for number in numbers]
        assert 3 <= len(rows) < 91
    assert len({rows.tobytes() for rows in fitted}) > 1
    if max(sizes) < 10:
        assert {abs(len(rows) - 45.5) for rows in fitted} == {max(sizes) / 2}


def test_frames_of_tracks_do_not_make_chance_stable():
    """The tracks have nothing in common; with frames of each track in both halves, k-means finds the tracks again."""
    tracks, _, _ = blobs(range(12), each=20, noise=0.02, dim=12)
    groups = np.repeat(np.arange(12), 20)
    naive = cluster(tracks, tracks, np.arange(240), [12], runs=3, seed=0).stability[12]
    assert naive > 0.95
    assert cluster(tracks, tracks, groups, [12], runs=3, seed=0).stability[12] < 0.8


def test_noise_is_not_stable():
    images, views, alone = blobs([0], each=400, noise=5.0)
    assert max(cluster(images, views, alone, [2, 5, 10], runs=3, seed=0).stability.values()) < 0.5


def test_views_that_move_images_to_other_clusters_cost_stability():
    images, views, alone = blobs(range(5))
    shuffled = np.random.default_rng(0).permutation(views)
    assert cluster(images, views, alone, [5], runs=3, seed=0).stability[5] > 0.98
    assert abs(cluster(images, shuffled, alone, [5], runs=3, seed=0).stability[5]) < 0.1


def test_stability_is_the_mean_over_ordered_pairs_of_runs():
    images, views, alone = blobs(range(5), noise=0.3)
    of_images = cluster(images, images, alone, [4], runs=2, seed=0)
    assert of_images.stability[4] == pytest.approx(adjusted_rand_score(*of_images.assignments[4]))
    assert of_images.stability[4] < 1
    assert cluster(images, views, alone, [4], runs=2, seed=0).stability[4] < of_images.stability[4]


def test_each_run_is_fitted_on_another_half(monkeypatch: pytest.MonkeyPatch):
    fitted, fit = [], KMeans.fit
    monkeypatch.setattr(KMeans, "fit", lambda self, rows: fitted.append(rows) or fit(self, rows))
    cluster(*blobs(range(5), each=9), [3], runs=3, seed=0)
    assert [len(rows) for rows in fitted] == [23] * 3
    assert len({rows.tobytes() for rows in fitted}) == 3


def test_equal_seeds_equal_clusters():
    images, views, alone = blobs(range(5), noise=0.3)
    one, again, other = (cluster(images, views, alone, [7], runs=3, seed=seed) for seed in (1, 1, 9))
    np.testing.assert_array_equal(one.assignments[7], again.assignments[7])
    assert one.stability == again.stability
    assert (one.assignments[7] != other.assignments[7]).any()


def test_fewer_different_embeddings_than_clusters_is_no_error():
    images, views, alone = blobs([0, 1], noise=0.0)
    assert set(cluster(images, views, alone, [5], runs=2, seed=0).assignments[5].ravel()) <= {0, 1, 2, 3, 4}


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
    found = energies(embeddings, np.array([0, 0, 1, 1]), np.arange(4))
    assert found["intra"]["mean"] == pytest.approx(-(1 + 0.8) / 2)
    assert found["inter"]["mean"] == pytest.approx(-(0 + 0.6 + 0 + 0.6) / 4)
    assert found["inter"]["median"] == pytest.approx(-0.3)
    assert found["auroc"] == 1.0 == roc_auc_score([1, 1, 0, 0], [1, 0.8, 0, 0.6])
    swapped = energies(embeddings, np.array([0, 1, 0, 1]), np.arange(4))
    assert swapped["auroc"] < 0.5


def test_pairs_within_a_group_say_nothing_of_its_class():
    embeddings, labels = np.array([[1, 0], [1, 0], [0, 1], [0.6, 0.8]], np.float32), np.array([0, 0, 0, 1])
    found = energies(embeddings, labels, np.array([4, 4, 2, 3]))
    assert found["intra"]["mean"] == pytest.approx(0)
    assert found["inter"]["mean"] == pytest.approx(-(0.6 + 0.6 + 0.8) / 3)


@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2], [0], []])
def test_no_energies_without_pairs_of_either_sort(labels):
    assert (
        energies(np.eye(3, dtype=np.float32)[: len(labels)], np.array(labels, np.int64), np.arange(len(labels))) == {}
    )


def test_rounding_makes_no_embedding_different():
    rounding = np.random.default_rng(0).normal(size=(50, 64)) * 1e-7
    assert distinct((0.123455 + rounding).astype(np.float32)) == 1
    assert distinct(np.eye(4, dtype=np.float32)) == 4
