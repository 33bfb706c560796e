"""From a store of images to figures, lines and pictures, for any kind of images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ssl_pipeline.augment.policy import Operation, Policies, Policy
from ssl_pipeline.config import Clusters
from ssl_pipeline.data.labels import read_labels, write_labels
from ssl_pipeline.data.store import IndexRow, open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.evaluation.clusters.study import TABLE, study_clusters
from ssl_pipeline.evaluation.seen_images import SeenImages, SeenViews, choose_seen

SETTINGS = Clusters(images=400, runs=2, view="plain")
POLICIES = Policies(seed=0, views={"plain": Policy(size=8)})
NAMES = ["ant", "bee", "cow", "dog", "elk"]


def write(store: Path, kinds: list[int], labels: list[int], val: int = 20, group: str = "") -> Path:
    """Write labelled images; each kind lights up one row of pixels. The test split, never to be opened, is missing."""
    images = np.zeros((len(kinds), 8, 8, 3), np.uint8)
    images[np.arange(len(kinds)), np.array(kinds, int)] = 200
    images += np.random.default_rng(0).integers(0, 40, images.shape, dtype=np.uint8)
    rows, cut = [], max(len(kinds) - val, 0)
    for split, part in (("train", slice(0, cut)), ("val", slice(cut, None))):
        write_split(store / split, np.arange(len(images[part]), dtype=np.uint64), [images[part]], 8)
        for row, label in enumerate(labels[part]):
            name = NAMES[label] if label >= 0 else ""
            rows.append(
                IndexRow(f"{split}{row:04}", f"{split}{row}.png", name, split, group and split + group, 8, 8, row)
            )
    write_labels(store, rows)
    return store


def embed(images):
    return images.reshape(len(images), 192).astype(np.float32) / 255


def seen(store: Path, count: int) -> SeenImages:
    known = read_labels(store, "train"), read_labels(store, "val")
    return choose_seen((open_split(store, "train"), open_split(store, "val")), known, count)


def study(store: Path, embed=embed, policies=POLICIES):
    return study_clusters(SETTINGS, embed, seen(store, SETTINGS.images), NAMES, policies, 0)


def drawn(report, folder: Path) -> set[str]:
    folder.mkdir()
    report.draw(folder)
    return {path.name for path in folder.iterdir()}


def test_merged_and_split_classes_are_named_and_drawn(tmp_path: Path):
    """Ants and bees look alike; elks come in two kinds."""
    kinds, labels = [0, 0, 2, 3, 4, 5] * 40, [0, 1, 2, 3, 4, 4] * 40
    report = study(write(tmp_path / "store", kinds, labels))
    assert report.figures["verdict"] == "both"
    assert list(report.figures["merged_pairs"]) == ["ant + bee"]
    assert list(report.figures["split_classes"]) == ["elk"]
    assert report.figures["split_classes"]["elk"] == pytest.approx(2, abs=0.01)
    assert (report.figures["k_star"], report.figures["preferred"], report.figures["images"]) == (5, True, 240)
    assert report.figures["energy"]["intra"]["mean"] < report.figures["energy"]["inter"]["mean"]
    assert [row[0] for row in report.rows][-1] == 20
    assert all(len(row) == len(TABLE) for row in report.rows)
    assert drawn(report, tmp_path / "one") == {"clusters.png", "merged_pairs.png", "split_classes.png"}
    assert drawn(report, tmp_path / "two") == {"clusters.png", "merged_pairs.png", "split_classes.png"}
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()
        with Image.open(path) as picture:
            assert min(picture.size) > 60


def test_nothing_to_show_is_not_drawn(tmp_path: Path):
    report = study(write(tmp_path / "store", [0, 1, 2, 3, 4] * 40, [0, 1, 2, 3, 4] * 40))
    assert report.figures["verdict"] == "balanced"
    assert drawn(report, tmp_path / "pictures") == {"clusters.png"}


def test_views_in_which_kinds_cannot_be_told_cost_stability(tmp_path: Path):
    store = write(tmp_path / "store", [0, 1, 2, 3, 4] * 40, [0, 1, 2, 3, 4] * 40)
    upside_down = Policy(size=8, vertical_flip=Operation(p=1.0))
    policies = POLICIES.model_copy(update={"views": {"plain": upside_down}})
    stable, unstable = study(store).rows, study(store, policies=policies).rows
    assert dict(row[:2] for row in stable)[5] == pytest.approx(1)
    assert dict(row[:2] for row in unstable)[5] < 0.8


def test_without_labels_there_is_the_stable_number_alone(tmp_path: Path):
    report = study(write(tmp_path / "store", [0, 1, 2, 3, 4] * 40, [-1] * 200))
    assert (report.figures["verdict"], report.figures["k_star"]) == ("unknown", 5)
    assert "energy" not in report.figures
    assert len(report.lines) == 1
    assert report.rows[0][2:] == ("", "", "", "")
    assert drawn(report, tmp_path / "pictures") == {"clusters.png"}


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_too_few_images_are_told_in_words(tmp_path: Path, count: int):
    report = study(
        write(tmp_path / "store", [0, 1, 2][:count] * 3 if count > 3 else [0, 1][:count], [0] * count, val=0)
    )
    assert report.figures["verdict"] == "unknown"
    assert "clustering needs 10" in report.lines[0]
    assert report.rows == []
    assert drawn(report, tmp_path / "pictures") == set()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_embeddings_that_are_all_alike_are_told_in_words(tmp_path: Path, value: float):
    store = write(tmp_path / "store", [0, 1] * 50, [0, 1] * 50)
    report = study(store, lambda images: np.full((len(images), 4), value, np.float32))
    reason = "clustering needs 10 different embeddings, but the 100 images have only 1"
    assert report.lines == [f"linear_eval: no clusters: {reason}."]


def test_few_labels_in_a_large_pool_are_all_taken_and_the_rest_fills_up(tmp_path: Path):
    labels = [1 if position % 50 == 0 else -1 for position in range(600)]
    pool = seen(write(tmp_path / "store", [0] * 600, labels, val=200), 100)
    assert len(pool) == 100
    assert (pool.labels >= 0).sum() == 12  # "bee", the only class, is number 0
    assert pool.classes == 1
    assert 20 < (pool.owners == 1).sum() < 45
    assert len(set(zip(pool.owners.tolist(), pool.rows.tolist(), strict=True))) == 100


def test_groups_of_train_and_of_validation_are_different_ones(tmp_path: Path):
    alone = seen(write(tmp_path / "alone", [0] * 60, [0] * 60), 1000).groups
    assert len(set(alone.tolist())) == 60
    grouped = seen(write(tmp_path / "grouped", [0] * 60, [0] * 60, group="g"), 30).groups
    assert [len(set(part.tolist())) for part in (grouped, grouped[:20], grouped[-10:])] == [2, 1, 1]


def test_a_pool_gives_each_image_with_its_own_label_and_identity(tmp_path: Path):
    kinds = [0, 1, 2, 3, 4] * 12
    pool = seen(write(tmp_path / "store", kinds, kinds), 1000)
    positions = np.array([55, 3, 41, 0])
    rows = pool.images(positions).astype(int).sum(axis=(2, 3)).argmax(axis=1)
    assert rows.tolist() == pool.labels[positions].tolist() == [kinds[position] for position in positions]
    assert pool.ids.tolist() == [*range(40), *range(20)]


def test_views_of_a_policy_that_does_nothing_are_the_images(tmp_path: Path):
    pool = seen(write(tmp_path / "store", [0, 1, 2] * 20, [0, 1, 2] * 20), 1000)
    positions = np.array([50, 7])
    np.testing.assert_array_equal(SeenViews(pool, POLICIES, "plain").images(positions), pool.images(positions))
