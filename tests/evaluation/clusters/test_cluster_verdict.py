"""Embeddings made so that classes are merged or split are judged accordingly, and the classes are named."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ssl_pipeline.evaluation.clusters.cluster_verdict import MERGED, judge_clusters, overlaps, own_clusters, sentences
from ssl_pipeline.evaluation.clusters.clustering import Clusterings, agreement, cluster, grid
from ssl_pipeline.evaluation.features import unit
from tests.evaluation.clusters.blobs import blobs

NAMES = [f"class {letter}" for letter in "abcdefgh"]
WELL = list(range(8))
ONE_BLOB = [0, 1, 2, 3, 3, 5, 6, 7]  # classes d and e are drawn from one blob


NEIGHBOURS = [20, 20, 20, 21, 21, 21]  # two coarse groups of three classes each


def verdict(centres, labels, each=40, noise=0.05, coarse=()):
    """Return the judgement, the lines and the clusterings of blobs with one label each."""
    images, views, alone = blobs(centres, each, noise, coarse=coarse)
    labels = np.repeat(labels, each)
    found = cluster(images, views, alone, grid(len(images), len(np.unique(labels[labels >= 0]))), runs=3, seed=0)
    judgement, known = judge_clusters(found, labels, 0), labels >= 0
    at_k = agreement(found.assignments[judgement.k][:, known], labels[known]) if known.any() else None
    return judgement, sentences(judgement, found, at_k, NAMES), found


@pytest.fixture(scope="module")
def well() -> Clusterings:
    return verdict(WELL, WELL)[2]


@pytest.fixture(scope="module")
def of_digits() -> tuple[Clusterings, np.ndarray]:
    """Return clusters of digits, embedded by the labels of other digits: clean, and a cut into three is also stable."""
    pixels, labels = load_digits(return_X_y=True)
    learn, held_out = pixels[::2], pixels[1::2]
    embed = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto").fit(learn, labels[::2]).transform
    noisy = held_out + np.random.default_rng(0).normal(size=held_out.shape)
    images, views = (unit(embed(part).astype(np.float32)) for part in (held_out, noisy))
    ks = grid(len(images), 10)
    return cluster(images, views, np.arange(len(images)), ks, runs=3, seed=0), labels[1::2]


def test_ten_digits_are_ten_clusters_though_a_coarse_cut_is_more_stable(of_digits):
    found, labels = of_digits
    judgement = judge_clusters(found, labels, 0)
    assert (judgement.word, judgement.k, judgement.doubt) == ("balanced", 10, "")
    assert found.stability[3] > found.stability[10]


def test_digits_paired_into_classes_of_two_clusters_each_are_split(of_digits):
    found, labels = of_digits
    judgement = judge_clusters(found, labels // 2, 0)
    assert (judgement.word, judgement.k) == ("over-clustered", 10)
    assert list(judgement.split.values()) == [pytest.approx(2, abs=0.05)] * 3


@pytest.mark.parametrize("noise", [0.1, 0.2, 0.3])
def test_a_split_class_is_seen_below_a_stable_coarse_cut(noise):
    """Six classes form two coarse groups; one class consists of two distant blobs, one in each group."""
    judgement, lines, found = verdict([0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5, 5], 60, noise, [*NEIGHBOURS, 20])
    assert found.stability[2] > found.stability[judgement.k] - 0.01
    assert judgement.word == "over-clustered"
    assert next(iter(judgement.split)) == 5
    assert "class f (2." in lines[1]


@pytest.mark.parametrize("noise", [0.1, 0.2, 0.3])
def test_below_a_stable_coarse_cut_honest_classes_are_balanced_and_one_blob_of_two_is_merged(noise):
    judgement, _, found = verdict(range(6), range(6), 60, noise, NEIGHBOURS)
    assert found.stability[2] > found.stability[judgement.k] - 0.01
    assert (judgement.word, judgement.doubt) == ("balanced", "")
    merged, lines, _ = verdict([0, 1, 2, 3, 4, 4], range(6), 60, noise, NEIGHBOURS)
    assert merged.word == "under-clustered"
    assert "class e + class f" in lines[1]


def test_two_classes_in_two_blobs_are_balanced_though_fewer_clusters_cannot_be_tried():
    judgement, _, _ = verdict([0, 1], [0, 1])
    assert (judgement.word, judgement.k) == ("balanced", 2)


@pytest.mark.parametrize(
    ("stability", "k", "doubt"),
    [
        (lambda k: 0.5 + 0.01 * k, 32, "it is the largest number tried"),
        (lambda k: 1 - 0.02 * k, 2, "it is the smallest number tried"),
        (lambda k: 0.5 - 0.05 * (k != 8), 8, "no number is stable"),
        (lambda k: 0.95 - 0.03 * abs(k - 7), 7, "it is below the number of classes"),
        (lambda k: 0.95 - 0.03 * abs(k - 3), 3, "its clusters contain several classes"),
    ],
)
def test_a_number_that_nothing_speaks_for_is_not_called_preferred(well, stability, k, doubt):
    """The eight classes are clean, but the stabilities are invented."""
    found = replace(well, stability={k: stability(k) for k in well.stability})
    judgement = judge_clusters(found, np.repeat(WELL, 40), 0)
    assert (judgement.word, judgement.k) == ("no preferred number", k)
    assert judgement.doubt.startswith(doubt)
    first, second = sentences(judgement, found, agreement(found.assignments[k], np.repeat(WELL, 40)), NAMES)
    assert first.startswith(f"linear_eval: clusters are without a preferred number: k* = {k}")
    assert doubt in first
    assert "it is unclear whether one is split" in second


def test_without_labels_two_clusters_are_no_claim():
    judgement, (line,), _ = verdict([0, 1], [-1, -1])
    assert (judgement.word, judgement.k) == ("unknown", 2)
    assert line.startswith("linear_eval: clusters: no preferred number: k* = 2")


@pytest.mark.parametrize(("cuts", "word"), [("alike", "over-clustered"), ("elsewhere", "balanced")])
def test_a_class_is_split_only_if_every_run_cuts_it_in_the_same_way(well, cuts, word):
    labels = np.repeat(WELL, 40)
    halves = [np.random.default_rng(run if cuts == "elsewhere" else 0).random(len(labels)) < 0.5 for run in range(3)]
    cut = np.stack([np.where((labels == 5) & half, 8, labels) for half in halves])
    stability = {k: 0.9 - 0.02 * abs(k - 9) for k in well.stability}
    found = Clusterings(well.assignments | {9: cut}, stability)
    judgement = judge_clusters(found, labels, 0)
    assert (judgement.word, judgement.k) == (word, 9)
    assert list(judgement.split) == ([5] if cuts == "alike" else [])


@pytest.mark.parametrize(
    ("cuts", "word", "k"), [("alike", "over-clustered", 9), ("elsewhere", "no preferred number", 5)]
)
def test_a_split_is_looked_for_from_the_number_of_classes_on_though_stability_falls_to_there(well, cuts, word, k):
    """Stability has no valley between coarse cuts and the nine clusters, but falls steeply after nine."""
    labels = np.repeat(WELL, 40)
    halves = [np.random.default_rng(run if cuts == "elsewhere" else 0).random(len(labels)) < 0.5 for run in range(3)]
    cut = np.stack([np.where((labels == 5) & half, 8, labels) for half in halves])
    found = Clusterings(well.assignments | {9: cut}, {k: 1 - 0.003 * k - 0.3 * (k > 9) for k in well.stability})
    judgement = judge_clusters(found, labels, 0)
    assert (judgement.word, judgement.k) == (word, k)
    (line, _) = sentences(judgement, found, agreement(found.assignments[k], labels), NAMES)
    assert ("k* = 9, the most stable number of clusters from 8 on (stability 0.97)" in line) == (k == 9)
    assert ("it is below the number of classes" in line) == (k == 5)


def test_good_blobs_are_balanced():
    judgement, lines, _ = verdict(WELL, WELL)
    assert judgement.word == "balanced"
    assert judgement.k == 8
    assert judgement.homogeneity > 0.99
    assert judgement.merged == judgement.split == {}
    assert len(lines) == 1
    assert "balanced: k* = 8, the most stable number of clusters from 8 on" in lines[0]


def test_two_classes_from_one_blob_are_merged_and_named():
    judgement, lines, _ = verdict(ONE_BLOB, WELL)
    assert judgement.word == "under-clustered"
    assert list(judgement.merged) == [(3, 4)]
    assert judgement.merged[3, 4] > 0.7
    assert judgement.homogeneity > 0.8  # one pair among eight classes hardly changes the average
    assert "under-clustered: k* = 7, where stability peaks" in lines[0]
    assert "class d + class e" in lines[1]
    assert "negatives" in lines[1]
    assert "class a" not in lines[1]


def test_classes_that_are_all_smeared_are_merged_though_no_pair_stands_out():
    generator = np.random.default_rng(1)
    _, _, found = verdict(WELL, WELL)
    mixed = np.repeat(WELL, 40)
    moved = generator.random(len(mixed)) < 0.4
    mixed[moved] = generator.integers(0, 8, moved.sum())
    judgement = judge_clusters(found, mixed, 0)
    assert judgement.word == "under-clustered"
    assert 0.1 < judgement.homogeneity < 0.6
    assert max(judgement.merged.values()) < MERGED


def test_a_class_in_two_far_blobs_is_split_and_named():
    judgement, lines, _ = verdict([*WELL, 8], [*WELL, 5])
    assert judgement.word == "over-clustered"
    assert judgement.k == 9
    assert judgement.split == {5: pytest.approx(2, abs=0.05)}
    assert "over-clustered: k* = 9" in lines[0]
    assert "class f (2.0 clusters)" in lines[1]
    assert "false negatives" in lines[1]


def test_merged_and_split_at_once_though_k_is_the_number_of_classes():
    judgement, lines, _ = verdict([*ONE_BLOB, 8], [*WELL, 0])
    assert judgement.word == "both"
    assert judgement.k == 8
    assert (next(iter(judgement.merged)), list(judgement.split)) == ((3, 4), [0])
    assert len(lines) == 3


def test_a_split_that_is_not_stable_does_not_count():
    _, _, found = verdict([*WELL, 8], [*WELL, 5])
    shaky = replace(found, stability={k: 0.5 * value for k, value in found.stability.items()})
    judgement = judge_clusters(shaky, np.repeat([*WELL, 5], 40), 0)
    assert (judgement.word, judgement.split) == ("no preferred number", {})


def test_labels_that_say_nothing_are_no_better_than_chance():
    """There are 320 images in 32 clusters: by chance alone, homogeneity is far from 0."""
    _, _, found = verdict(WELL, WELL)
    labels = np.random.default_rng(0).permutation(np.repeat(WELL, 40))
    assert agreement(found.assignments[32], labels).homogeneity > 0.15
    assert abs(judge_clusters(found, labels, 0).homogeneity) < 0.05


@pytest.mark.parametrize(
    ("labels", "each", "reason"),
    [
        ([-1] * 8, 40, "fewer than two classes have labels"),
        ([0] * 8, 40, "fewer than two classes have labels"),
        (WELL, 10, "32 clusters need 160 different labelled"),
        ([0, 1, 2, 3, -1, -1, -1, -1], 19, "16 clusters need 80 different labelled"),
    ],
)
def test_without_labels_enough_there_is_no_verdict_but_a_k(labels, each, reason):
    judgement, lines, _ = verdict(WELL, labels, each)
    assert judgement.word == "unknown"
    assert reason in judgement.reason
    assert len(lines) == 1
    assert f"k* = {judgement.k}, the most stable number of clusters (stability" in lines[0]
    assert reason in lines[0]
    assert judgement.k == 8


def test_unlabelled_images_count_for_stability_alone():
    """The last cluster of a run may hold no labelled image, which must not cause an error."""
    judgement, _, _ = verdict([*WELL, 9], [*WELL, -1])
    assert judgement.k == 9
    assert judgement.word == "balanced"


def test_a_class_of_few_images_is_not_judged():
    images, views, alone = blobs(ONE_BLOB)
    labels = np.repeat(WELL, 40)
    kept = (labels != 4) | (np.cumsum(labels == 4) <= 10)
    found = cluster(images[kept], views[kept], alone[kept], grid(int(kept.sum()), 8), runs=3, seed=0)
    assert judge_clusters(found, labels[kept], 0).merged == {}


def test_overlap_is_one_minus_the_total_variation_distance():
    clusters, labels = np.array([[0, 0, 0, 1, 0, 1, 1, 1, 2, 2]]), np.array([3, 3, 3, 3, 5, 5, 5, 5, 8, 8])
    found = overlaps(clusters, labels, np.array([3, 5, 8]))
    assert found == {(3, 5): 0.5, (3, 8): 0.0, (5, 8): 0.0}


def test_own_clusters_are_those_in_which_a_class_has_the_majority():
    clusters = np.array([[0, 0, 1, 1, 1, 2, 2, 3, 3, 3]])
    labels = np.array([4, 4, 4, 4, 7, 7, 7, 7, 7, 9])
    found = own_clusters(clusters, labels, np.array([4, 7, 9]))
    assert found[4] == pytest.approx(2)
    assert found[7] == pytest.approx(2)  # not cluster 1, which has one of its images
    assert found[9] == 0
