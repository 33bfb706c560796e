"""Which images are drawn, and that they are drawn completely."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_pipeline.evaluation.clusters.cluster_pictures import grid_of_images, images_of_class, images_of_pair


def test_a_pair_is_shown_where_it_is_merged():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2])
    clusters = np.array([3, 3, 0, 0, 0, 1, 1, 0, 0])
    one, other = images_of_pair(clusters, labels, 0, 1, 2)
    assert (one.tolist(), other.tolist()) == ([2, 3], [4, 7])


def test_a_class_is_shown_by_its_largest_clusters():
    labels = np.array([5, 5, 5, 5, 5, 5, 2])
    clusters = np.array([4, 0, 0, 4, 0, 1, 4])
    parts = [part.tolist() for part in images_of_class(clusters, labels, 5, 2, 2)]
    assert parts == [[1, 2], [0, 3]]
    assert len(images_of_class(clusters, labels, 5, 9, 2)) == 3


@pytest.mark.parametrize("side", [8, 1024])
def test_every_image_is_on_the_sheet(tmp_path: Path, side: int):
    colours = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200], [200, 200, 0]], np.uint8)
    images = np.broadcast_to(colours[:, None, None], (4, side, side, 3))
    grid_of_images([("a + b", [images[:2], images[2:3]]), ("猫", [images[3:]])], tmp_path / "p.png")
    drawn = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).reshape(-1, 3)
    counts = [(drawn == colour).all(axis=1).sum() for colour in colours]
    assert min(counts) > 0.8 * max(counts) > 1000
