"""Which labels may be used."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from ssl_pipeline.data.labelled import Labelled, LabelledSplits, read_labelled
from ssl_pipeline.data.labels import write_labels
from ssl_pipeline.data.store import IndexRow, Split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.evaluation.budgets.label_draws import affordable, draw_labels, obstacle
from ssl_pipeline.randomness import hash64

IDS = hash64("image", np.arange(60))
LABELS = np.repeat([0, 1, 2], [30, 28, 2])


@pytest.mark.parametrize("draw", range(4))
def test_each_class_gives_the_budget_or_all_that_it_has(draw):
    chosen = draw_labels(IDS, LABELS, 5, 0, draw)
    assert np.bincount(LABELS[chosen]).tolist() == [5, 5, 2]
    assert len(set(chosen.tolist())) == len(chosen)


def test_a_larger_budget_holds_the_smaller_one_s_choice():
    choices = [set(draw_labels(IDS, LABELS, budget, 0, 1).tolist()) for budget in (1, 5, 20, "all")]
    assert all(small < large for small, large in itertools.pairwise(choices))
    assert choices[-1] == set(range(60))


def test_draws_and_seeds_choose_differently_and_evenly():
    draws = [tuple(draw_labels(IDS, LABELS, 5, seed, draw)) for seed in range(2) for draw in range(100)]
    assert len(set(draws)) > 190
    counts = np.bincount(np.concatenate(draws), minlength=60)[:30]  # 200 * 5 / 30 expected for each of the first class
    assert counts.min() > 12
    assert counts.max() < 60


def test_the_order_of_the_images_does_not_matter():
    order = np.random.default_rng(0).permutation(60)
    chosen = draw_labels(IDS, LABELS, 5, 0, 0)
    assert set(IDS[order][draw_labels(IDS[order], LABELS[order], 5, 0, 0)]) == set(IDS[chosen])


def test_no_image_gives_no_label():
    assert len(draw_labels(IDS[:0], LABELS[:0], 5, 0, 0)) == 0


@pytest.mark.parametrize(
    ("budgets", "expected"),
    [
        (["all", 5, 1, 20, 5], [1, 5, 20, "all"]),
        ([1, 30], [1, "all"]),  # no class exceeds 30
        ([1, 29], [1, 29]),
        ([1, 31, 500, "all"], [1, "all"]),
        ([100], ["all"]),
        ([5], [5]),
    ],
)
def test_budgets_beyond_what_is_there_are_all_of_it(budgets, expected):
    assert affordable(budgets, LABELS) == expected


def data(train, test, classes):
    def part(labels):
        split, rows = Split("x", 8, IDS, (0, 0, 0), (1, 1, 1), "", ()), np.arange(len(labels))
        return Labelled(split, rows, np.array(labels, int), rows)

    return LabelledSplits(part(train), part([]), part(test), classes)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (data([], [], ()), "no image has a label"),
        (data([0, 0], [0, 0], ("cat",)), "every label is 'cat'"),
        (data([1, 1], [0, 1], ("cat", "dog")), "training images have labels of 1 of 2 classes"),
        (data([], [0, 1], ("cat", "dog")), "training images have labels of 0 of 2 classes"),
        (data([0, 1], [1], ("cat", "dog")), "the number of labelled test images is 1"),
    ],
)
def test_what_stands_in_the_way_is_said(found, words):
    assert words in obstacle(found)


def test_nothing_stands_in_the_way_of_two_classes():
    assert obstacle(data([0, 1], [0, 1], ("cat", "dog"))) is None


def test_unlabelled_images_are_left_out_and_classes_are_those_of_all_splits(tmp_path: Path):
    rows = []
    for split, labels in (("train", ["b", "", "a"]), ("val", []), ("test", ["c", ""])):
        images = np.zeros((len(labels), 8, 8, 3), np.uint8)
        write_split(tmp_path / split, np.arange(len(labels), dtype=np.uint64), [images] if labels else [], 8)
        rows += [IndexRow("0", "", label, split, "", 8, 8, row) for row, label in enumerate(labels)]
    write_labels(tmp_path, rows)
    found = read_labelled(tmp_path)
    assert found.classes == ("a", "b", "c")
    assert (found.train.rows.tolist(), found.train.labels.tolist()) == ([0, 2], [1, 0])
    assert len(found.val) == 0
    assert found.test.labels.tolist() == [2]
