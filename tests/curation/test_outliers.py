"""Unusual images have the highest scores, with or without copies; neighbours, clusters and contact sheets."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from ssl_pipeline.curation.clusters import find_clusters
from ssl_pipeline.curation.label_next import choose_next
from ssl_pipeline.curation.near_duplicates import find_near_duplicates
from ssl_pipeline.curation.neighbourhood import NEIGHBOURS, look_around
from ssl_pipeline.curation.outliers import outlier_scores
from ssl_pipeline.curation.pictures import contact_sheet, pair_sheet
from ssl_pipeline.neighbours import unit

DIGITS = unit(load_digits().data[:500].astype(np.float32))
ALONE = np.arange(500)


def test_the_score_is_the_distance_to_the_fifth_neighbour_over_that_of_the_median_image():
    scores = outlier_scores(look_around(DIGITS, ALONE), np.full(500, -1))
    exact = DIGITS.astype(np.float64)
    distances = np.sort(np.linalg.norm(exact[:, None] - exact[None], axis=2), axis=1)[:, 5]
    np.testing.assert_allclose(scores, distances / np.median(distances), rtol=1e-4)


def test_copies_of_an_odd_image_do_not_vouch_for_each_other():
    odd = unit(np.random.default_rng(0).normal(size=(1, 64)).astype(np.float32))
    images = np.concatenate([DIGITS, np.repeat(odd, 6, axis=0)])
    around = look_around(images, np.arange(506))
    copies = np.append(np.full(500, -1), np.full(6, 0))
    assert outlier_scores(around, np.full(506, -1))[500:].max() < 0.1
    assert set(np.argsort(-outlier_scores(around, copies))[:6]) == set(range(500, 506))


def test_equal_images_have_equal_scores():
    around = look_around(np.tile(DIGITS[:1], (40, 1)), np.arange(40))
    assert outlier_scores(around, np.full(40, -1)).tolist() == [1.0] * 40


@pytest.mark.parametrize("size", [1, 7, 500])
def test_neighbours_are_those_of_other_groups(size: int):
    groups = ALONE // size
    around = look_around(DIGITS, groups)
    there = around.ids >= 0
    assert there[:, 0].all() == (size < 500)
    assert (groups[around.ids] != groups[:, None])[there].all()
    assert np.isnan(around.similarities[~there]).all()
    assert np.isinf(around.distances[~there]).all()
    assert around.ids.shape[1] == NEIGHBOURS
    if size == 7:
        cosines = np.where(groups[:, None] == groups[None], -2, DIGITS @ DIGITS.T)
        np.testing.assert_allclose(around.similarities[:, 0], cosines.max(axis=1), atol=1e-6)


def test_one_image_has_no_neighbour():
    around = look_around(DIGITS[:1], ALONE[:1])
    assert around.ids.tolist() == [[-1]]
    assert np.isnan(around.similarities).all()
    assert outlier_scores(around, np.full(1, -1)).tolist() == [1.0]
    assert find_near_duplicates(around, ALONE[:1]).groups.tolist() == [-1]
    assert choose_next(DIGITS[:1], np.zeros(1, np.bool_), 5, 0, "typical").numbers.tolist() == [0]


def test_clusters_are_numbered_by_size_and_have_a_central_image():
    clusters = find_clusters(DIGITS, 10, 0)
    sizes = np.bincount(clusters.numbers)
    assert sizes.tolist() == sorted(sizes, reverse=True)
    assert clusters.numbers[clusters.central].tolist() == list(range(10))
    centre = DIGITS[clusters.numbers == 0].mean(axis=0)
    own = np.flatnonzero(clusters.numbers == 0)
    assert clusters.central[0] == own[np.linalg.norm(DIGITS[own] - centre, axis=1).argmin()]
    assert find_clusters(DIGITS, 10, 0).numbers.tolist() == clusters.numbers.tolist()


def test_fewer_images_than_clusters():
    equal = np.tile(DIGITS[:1], (5, 1))
    assert find_clusters(equal, 20, 0).numbers.tolist() == [0] * 5


def test_sheets_show_each_image_above_its_text(tmp_path: Path):
    grey = np.arange(0, 70, 10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    contact_sheet(grey, [["a", "\x1b[31m" + "b" * 300]] * 7, 3, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape == (3 * (96 + 26 + 8) + 8, 3 * 104 + 8, 3)
    assert sheet[8 + 130 + 50, 8 + 104 + 50].tolist() == [40, 40, 40]
    pair_sheet(np.stack([grey[:2], grey[2:4]]), [["a"], ["b"]], 5, tmp_path / "pairs.png")
    assert np.asarray(Image.open(tmp_path / "pairs.png"))[50, 8 + 98 + 50].tolist() == [10, 10, 10]
