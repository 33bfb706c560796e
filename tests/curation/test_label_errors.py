"""Confident learning against a second, literal implementation of the paper, and on planted wrong labels."""

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.datasets import load_digits

from ssl_pipeline.curation.catalogue import Catalogue
from ssl_pipeline.curation.finding import Seen
from ssl_pipeline.curation.label_errors import (
    can_be_probed,
    confident_joint,
    find_label_errors,
    folds_of,
    out_of_fold,
)
from ssl_pipeline.curation.label_study import study_label_errors
from ssl_pipeline.curation.near_duplicates import NearDuplicates, find_near_duplicates
from ssl_pipeline.curation.neighbourhood import look_around
from ssl_pipeline.data.store import IndexRow
from ssl_pipeline.neighbours import unit

FEATURES, LABELS = unit(load_digits().data[:800].astype(np.float32)), load_digits().target[:800].astype(np.int64)


def joint_by_the_paper(chances: list[list[float]], labels: list[int], classes: int) -> list[list[float]]:
    """Compute equations 1 to 3 of 1911.00068, image by image."""
    thresholds = []
    for j in range(classes):
        of_j = [row[j] for row, label in zip(chances, labels, strict=True) if label == j]
        thresholds.append(sum(of_j) / len(of_j) if of_j else float("inf"))
    counts = [[0.0] * classes for _ in range(classes)]
    for row, label in zip(chances, labels, strict=True):
        above = [j for j in range(classes) if row[j] >= thresholds[j]]
        if above:
            counts[label][max(above, key=lambda j: row[j])] += 1
    for i in range(classes):
        total, size = sum(counts[i]), labels.count(i)
        if total == 0:
            counts[i][i], total = 1.0, 1.0
        counts[i] = [count / total * size for count in counts[i]]
    return counts


@pytest.mark.parametrize("seed", range(5))
def test_the_joint_is_that_of_the_paper(seed: int):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 5, 60)
    labels[labels == 3] = 4  # a class without labels
    chances = generator.dirichlet(np.full(5, 0.4), 60)
    expected = joint_by_the_paper(chances.tolist(), labels.tolist(), 5)
    np.testing.assert_allclose(confident_joint(chances, labels), expected, rtol=1e-12)


def test_an_example_by_hand():
    """Five images are labelled 0 and five 1; one of each belongs to the other class. Thresholds: 0.74 and 0.66."""
    own = np.array([0.9, 0.9, 0.9, 0.9, 0.1, 0.8, 0.8, 0.8, 0.8, 0.1])
    labels = np.repeat([0, 1], 5)
    chances = np.where(labels[:, None] == [0, 1], own[:, None], 1 - own[:, None])
    np.testing.assert_allclose(confident_joint(chances, labels), [[4, 1], [1, 4]])
    found = find_label_errors(chances, labels)
    assert found.suspected.tolist() == [4, 9]
    assert found.better[[4, 9]].tolist() == [1, 0]


def planted(seed: int, share: float = 0.05) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    generator = np.random.default_rng(seed)
    wrong = generator.choice(len(LABELS), round(share * len(LABELS)), replace=False)
    labels = LABELS.copy()
    labels[wrong] = (labels[wrong] + generator.integers(1, 10, len(wrong))) % 10
    return labels, wrong


def test_planted_errors_are_found_and_first():
    labels, wrong = planted(0)
    chances = out_of_fold(FEATURES, labels, folds_of(np.arange(800), 0), 10)
    found = find_label_errors(chances, labels)
    hits = np.isin(found.suspected, wrong)
    assert hits.mean() > 0.85
    assert hits.sum() > 0.6 * len(wrong)
    assert hits[:20].all()
    right = found.suspected[hits]
    assert (found.better[right] == LABELS[right]).mean() > 0.9


def test_a_probe_never_saw_the_image_that_it_is_asked_about():
    labels, wrong = planted(1)
    honest = out_of_fold(FEATURES, labels, folds_of(np.arange(800), 0), 10)
    assert honest[wrong, labels[wrong]].mean() < 0.1
    np.testing.assert_allclose(honest.sum(axis=1), 1, atol=1e-9)


def test_a_class_that_no_probe_could_know_raises_no_suspicion():
    """There are three blobs of 60 images and a single image that is labelled as a fourth class."""
    generator = np.random.default_rng(0)
    centres = np.append(np.repeat(np.arange(3), 60), 0)
    features = (4 * np.eye(3, 16)[centres] + generator.normal(size=(181, 16))).astype(np.float32)
    labels = np.append(centres[:180], 3)
    chances = out_of_fold(features, labels, folds_of(np.arange(181), 0), 4)
    joint = confident_joint(chances, labels)
    assert joint[3].tolist() == [0, 0, 0, 1]
    assert joint[:3, 3].tolist() == [0, 0, 0]
    assert len(find_label_errors(chances, labels).suspected) < 6


def test_the_class_that_raised_the_suspicion_is_named():
    """The last image labelled 0 is more likely 1 than 2, but only for 2 does it exceed the class's own average."""
    chances = np.array([[0.9, 0.05, 0.05]] * 4 + [[0.1, 0.5, 0.4]] + [[0.05, 0.9, 0.05]] * 4 + [[0.4, 0.3, 0.3]] * 4)
    labels = np.array([0] * 5 + [1] * 4 + [2] * 4)
    found = find_label_errors(chances, labels)
    assert found.suspected.tolist() == [4]
    assert found.better[4] == 2


def test_labels_of_a_fold_have_no_say_in_what_is_said_of_it():
    folds = folds_of(np.arange(800), 0)
    for fold in range(5):
        wrong = np.where(folds == fold, np.random.default_rng(0).permutation(LABELS), LABELS)
        right = out_of_fold(FEATURES, LABELS, folds, 10)[folds == fold]
        np.testing.assert_array_equal(out_of_fold(FEATURES, wrong, folds, 10)[folds == fold], right)


@pytest.mark.parametrize("count", [2, 3])
def test_few_folds_are_enough(count: int):
    chances = out_of_fold(FEATURES, LABELS, np.arange(800) % count, 10)
    assert (chances.argmax(axis=1) == LABELS).mean() > 0.8


def test_folds_part_no_copies():
    """A copy with the same wrong label in another fold would teach the probe to believe that label."""
    rows = tuple(
        IndexRow("", f"{number}", "", "train", group, 8, 8, number)
        for number, group in enumerate(["a", "", "near copies 1", "near copies 1", "a", ""])
    )
    catalogue = Catalogue(rows, (), np.eye(6, dtype=np.float32))
    around = look_around(catalogue.embeddings, catalogue.groups)
    kin = Seen(catalogue, around, NearDuplicates(np.array([-1, 1, 0, 0, 1, -1]), [], 1.0, 0.0)).kin()
    assert [kin[number] == kin[0] for number in range(6)] == [True, True, False, False, True, False]
    assert kin[2] == kin[3] != kin[5]


def test_folds_part_no_group():
    groups = np.random.default_rng(0).integers(0, 40, 200)
    folds = folds_of(groups, 0)
    assert set(folds) == set(range(5))
    for group in range(40):
        assert len(set(folds[groups == group])) <= 1


@pytest.mark.parametrize(
    ("classes", "folds", "possible"),
    [([], [], False), ([0, 1], [0, 0], False), ([0, 0, 0], [0, 1, 2], False), ([0, 1, 0, 1], [0, 0, 1, 1], True)],
)
def test_what_cannot_be_probed(classes: list[int], folds: list[int], possible: bool):
    assert can_be_probed(np.array(classes, np.int64), np.array(folds, np.int64)) == possible


def test_copies_with_one_wrong_label_do_not_vouch_for_each_other():
    """Each image occurs twice, as ingest's near copies do: a probe that knew one would believe the other's label."""
    labels, wrong = planted(0)
    rows = [IndexRow("", "", f"{labels[n % 800]}", "train", f"near copies {n % 800}", 8, 8, n) for n in range(1600)]
    catalogue = Catalogue(tuple(rows), (), np.concatenate([FEATURES, FEATURES]))
    around = look_around(catalogue.embeddings, catalogue.groups)
    seen = Seen(catalogue, around, find_near_duplicates(around, catalogue.near_copies))
    own = np.array(study_label_errors(seen, 0).columns["own_label_probability"]).astype(float)
    assert np.median(own[wrong]) < 0.01
