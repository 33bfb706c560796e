"""Which images to label next, and what embeddings reveal about the files."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits

from ssl_pipeline.curation.clusters import find_clusters
from ssl_pipeline.curation.label_next import choose_next
from ssl_pipeline.curation.shortcuts import as_classes, find_shortcuts
from ssl_pipeline.neighbours import unit

FEATURES, LABELS = unit(load_digits().data[:800].astype(np.float32)), load_digits().target[:800].astype(np.int64)
NONE = np.zeros(800, np.bool_)


def chosen(*arguments: Any) -> npt.NDArray[np.int64]:
    return choose_next(*arguments).numbers


@pytest.mark.parametrize("by", ["random", "typical"])
def test_unlabelled_images_are_chosen_once_each_and_again_alike(by):
    labelled = np.arange(800) % 3 == 0
    numbers = chosen(FEATURES, labelled, 50, 0, by)
    assert len(set(numbers.tolist())) == 50
    assert not labelled[numbers].any()
    assert numbers.tolist() == chosen(FEATURES, labelled, 50, 0, by).tolist()
    assert numbers.tolist() != chosen(FEATURES, labelled, 50, 1, by).tolist()
    left = ~NONE
    left[:7] = False
    assert sorted(chosen(FEATURES, left, 50, 0, by).tolist()) == list(range(7))
    assert len(chosen(FEATURES, ~NONE, 50, 0, by)) == len(chosen(FEATURES, NONE, 0, 0, by)) == 0


def test_each_cluster_gives_its_densest_image_and_the_largest_comes_first():
    numbers = chosen(FEATURES, NONE, 20, 0, "typical")
    clusters = find_clusters(FEATURES, 20, 0).numbers
    assert clusters[numbers].tolist() == list(range(20))
    cosines = np.sort(FEATURES @ FEATURES.T, axis=1)[:, -21:-1].mean(axis=1)
    for number, image in enumerate(numbers):
        assert cosines[image] == pytest.approx(cosines[clusters == number].max(), abs=1e-6)


def test_from_a_hundred_labels_on_images_are_drawn_at_random():
    labelled = np.arange(800) < 100
    at_random = chosen(FEATURES, labelled, 30, 0, "random").tolist()
    assert chosen(FEATURES, labelled, 30, 0, "typical").tolist() == at_random
    mixed = chosen(FEATURES, labelled & (np.arange(800) != 0), 30, 0, "typical").tolist()
    assert len(set(mixed) & set(at_random)) < 30
    assert len(set(mixed)) == 30


@pytest.mark.parametrize(("labels", "by", "typical"), [(90, "typical", 10), (100, "typical", 0), (0, "random", 0)])
def test_the_number_of_typical_images_is_told(labels: int, by: Any, typical: int):
    choice = choose_next(FEATURES, np.arange(800) < labels, 30, 0, by)
    assert len(choice.numbers) == 30
    assert 0.5 * typical <= choice.typical <= typical


def test_what_has_a_label_is_served():
    blobs = unit(np.repeat(np.eye(4, 8, dtype=np.float32), 25, axis=0))
    blobs = unit(blobs + 0.01 * np.random.default_rng(0).normal(size=blobs.shape).astype(np.float32))
    labelled = np.zeros(100, np.bool_)
    labelled[[0, 30]] = True
    numbers = chosen(blobs, labelled, 2, 0, "typical")
    assert sorted(numbers // 25) == [2, 3]


def test_series_of_frames_are_not_chosen_twice():
    frames = unit(np.repeat(FEATURES[:30], 20, axis=0) + np.float32(1e-3))
    numbers = chosen(frames, np.zeros(600, np.bool_), 30, 0, "typical")
    assert len(set(numbers // 20)) >= 28
    assert len(set(chosen(frames, np.zeros(600, np.bool_), 30, 0, "random") // 20)) < 25


def test_a_fact_in_the_embeddings_is_told_and_another_is_not():
    generator = np.random.default_rng(0)
    marked = FEATURES.copy()
    camera = generator.integers(0, 2, 800)
    marked[:, 0] += camera
    facts = {
        "the camera": ["one" if number else "two" for number in camera],
        "the weather": [f"{number}" for number in generator.integers(0, 2, 800)],
        "the brightness": FEATURES[:, 20].astype(float).tolist(),
        "the same": [1.0] * 800,
        "the label": [f"folder {label}" for label in LABELS],
    }
    found = find_shortcuts(marked, facts, LABELS, np.arange(800), 0)
    assert list(found) == ["the camera", "the weather", "the brightness"]
    assert found["the camera"].accuracy > 0.95
    assert found["the camera"].told > 0.9
    assert abs(found["the weather"].told) < 0.2
    assert found["the brightness"].values == 4
    assert found["the brightness"].told > 0.5
    by_hand = sum(np.bincount(camera[label == LABELS]).max() for label in range(10)) / 800
    assert found["the camera"].by_label == pytest.approx(by_hand)
    assert find_shortcuts(marked, facts, np.full(800, -1), np.arange(800), 0)["the camera"].by_label is None


def test_facts_become_classes():
    assert (
        as_classes([""] * 5 + ["a"] * 10 + ["b"] * 9 + ["c"] * 10).tolist() == [-1] * 5 + [0] * 10 + [-1] * 9 + [1] * 10
    )
    quarters = as_classes([float(value) for value in range(80)] + [float("nan")])
    assert np.bincount(quarters[:80]).tolist() == [20, 20, 20, 20] or set(np.bincount(quarters[:80])) <= {19, 20, 21}
    assert quarters[80] == -1
    assert set(as_classes([2.0] * 40)) == {0}
