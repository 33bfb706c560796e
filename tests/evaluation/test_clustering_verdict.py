"""Embeddings that are made to be merged, and made to be split, are called so, by the names of their classes."""

from dataclasses import replace

import numpy as np
import pytest

from ssl_pipeline.evaluation.clustering import agreement, cluster, grid
from ssl_pipeline.evaluation.clustering_verdict import MERGED, judge, overlaps, own_clusters, sentences
from tests.evaluation.blobs import blobs

NAMES = [f"class {letter}" for letter in "abcdefgh"]
WELL = list(range(8))
ONE_BLOB = [0, 1, 2, 3, 3, 5, 6, 7]  # class d and class e are drawn from one blob


def verdict(centres, labels, each=40, noise=0.05):
    """The word and the lines on blobs, one label for each."""
    images, views = blobs(centres, each, noise)
    labels = np.repeat(labels, each)
    found = cluster(images, views, grid(len(images), len(np.unique(labels[labels >= 0]))), runs=3, seed=0)
    judgement, known = judge(found, labels, 0), labels >= 0
    at_k = agreement(found.assignments[found.best_k][:, known], labels[known]) if known.any() else None
    return judgement, sentences(judgement, found, at_k, NAMES), found


def test_good_blobs_are_balanced():
    judgement, lines, found = verdict(WELL, WELL)
    assert judgement.word == "balanced"
    assert found.best_k == 8
    assert judgement.homogeneity > 0.99
    assert judgement.merged == judgement.split == {}
    assert len(lines) == 1
    assert "balanced: k* = 8" in lines[0]


def test_two_classes_from_one_blob_are_merged_and_named():
    judgement, lines, _ = verdict(ONE_BLOB, WELL)
    assert judgement.word == "under-clustered"
    assert list(judgement.merged) == [(3, 4)]
    assert judgement.merged[3, 4] > 0.7
    assert judgement.homogeneity > 0.8  # one pair among eight classes: the average alone would not tell
    assert "under-clustered: k* = 7" in lines[0]
    assert "class d + class e" in lines[1]
    assert "negatives" in lines[1]
    assert "class a" not in lines[1]


def test_classes_that_are_all_smeared_are_merged_though_no_pair_stands_out():
    generator = np.random.default_rng(1)
    _, _, found = verdict(WELL, WELL)
    mixed = np.repeat(WELL, 40)
    moved = generator.random(len(mixed)) < 0.4
    mixed[moved] = generator.integers(0, 8, moved.sum())
    judgement = judge(found, mixed, 0)
    assert judgement.word == "under-clustered"
    assert 0.1 < judgement.homogeneity < 0.6
    assert max(judgement.merged.values()) < MERGED


def test_a_class_in_two_far_blobs_is_split_and_named():
    judgement, lines, found = verdict([*WELL, 8], [*WELL, 5])
    assert judgement.word == "over-clustered"
    assert found.best_k == 9
    assert judgement.split == {5: pytest.approx(2, abs=0.05)}
    assert "over-clustered: k* = 9" in lines[0]
    assert "class f (2.0 clusters)" in lines[1]
    assert "false negatives" in lines[1]


def test_merged_and_split_at_once_though_k_is_the_number_of_classes():
    judgement, lines, found = verdict([*ONE_BLOB, 8], [*WELL, 0])
    assert judgement.word == "both"
    assert found.best_k == 8
    assert (next(iter(judgement.merged)), list(judgement.split)) == ((3, 4), [0])
    assert len(lines) == 3


def test_a_split_that_is_not_stable_does_not_count():
    _, _, found = verdict([*WELL, 8], [*WELL, 5])
    shaky = replace(found, stability={k: 0.5 * value for k, value in found.stability.items()})
    judgement = judge(shaky, np.repeat([*WELL, 5], 40), 0)
    assert judgement.word == "balanced"
    assert (
        "none is truly stable" in sentences(judgement, shaky, agreement(np.zeros((1, 2), int), np.arange(2)), NAMES)[0]
    )


def test_labels_that_say_nothing_are_no_better_than_chance():
    """320 images in 32 clusters: by chance alone, homogeneity is far from 0."""
    _, _, found = verdict(WELL, WELL)
    labels = np.random.default_rng(0).permutation(np.repeat(WELL, 40))
    assert agreement(found.assignments[32], labels).homogeneity > 0.15
    assert abs(judge(found, labels, 0).homogeneity) < 0.05


@pytest.mark.parametrize(
    ("labels", "each", "reason"),
    [
        ([-1] * 8, 40, "no labels of two classes"),
        ([0] * 8, 40, "no labels of two classes"),
        (WELL, 10, "32 clusters take 160 labelled"),
        ([0, 1, 2, 3, -1, -1, -1, -1], 19, "16 clusters take 80 labelled"),
    ],
)
def test_without_labels_enough_there_is_no_verdict_but_a_k(labels, each, reason):
    judgement, lines, found = verdict(WELL, labels, each)
    assert judgement.word == "unknown"
    assert reason in judgement.reason
    assert len(lines) == 1
    assert f"k* = {found.best_k}" in lines[0]
    assert reason in lines[0]
    assert found.best_k == 8


def test_unlabelled_images_count_for_stability_alone():
    """The run's last cluster may hold no labelled image, which is no reason to trip."""
    judgement, _, found = verdict([*WELL, 9], [*WELL, -1])
    assert found.best_k == 9
    assert judgement.word == "balanced"


def test_a_class_of_few_images_is_not_judged():
    images, views = blobs(ONE_BLOB)
    labels = np.repeat(WELL, 40)
    kept = (labels != 4) | (np.cumsum(labels == 4) <= 10)
    found = cluster(images[kept], views[kept], grid(int(kept.sum()), 8), runs=3, seed=0)
    assert judge(found, labels[kept], 0).merged == {}


def test_overlap_is_one_minus_the_total_variation_distance():
    clusters, labels = np.array([[0, 0, 0, 1, 0, 1, 1, 1, 2, 2]]), np.array([3, 3, 3, 3, 5, 5, 5, 5, 8, 8])
    found = overlaps(clusters, labels, np.array([3, 5, 8]))
    assert found == {(3, 5): 0.5, (3, 8): 0.0, (5, 8): 0.0}


def test_own_clusters_are_those_in_which_a_class_has_the_majority():
    clusters = np.array([[0, 0, 1, 1, 1, 2, 2, 3, 3, 3]])
    labels = np.array([4, 4, 4, 4, 7, 7, 7, 7, 7, 9])
    found = own_clusters(clusters, labels, np.array([4, 7, 9]))
    assert found[4] == pytest.approx(2)
    assert found[7] == pytest.approx(2)  # not the one that it has an image in
    assert found[9] == 0
