"""How well energy.onnx tells positive pairs from random ones."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from plugins import load_registry
from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.augment.policy import Policies, Policy
from ssl_pipeline.data.store import Split, open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.deployment.energy_graph import export_energy
from ssl_pipeline.evaluation.separation import auroc, auroc_interval, separation
from ssl_pipeline.parts.heads import CosineEnergy
from tests.deployment.conftest import describe, settle
from tests.factories import BACKBONE, MEAN, STD, digit_images

GENTLE = {"random_resized_crop": {"p": 1.0, "scale": [0.8, 1.0], "ratio": [0.9, 1.1]}}
WILD = {"random_resized_crop": {"p": 1.0, "scale": [0.01, 0.02], "ratio": [0.5, 2.0]}}


def policies(options: dict[str, object]) -> Policies:
    views = {"global": Policy.model_validate({"size": 16, **options})}
    return Policies(seed=0, views=views)


def split(folder: Path, count: int) -> Split:
    images = digit_images(count)
    write_split(folder / "val", np.arange(count, dtype=np.uint64) * 2**40, [images], 8)
    return open_split(folder, "val")


@pytest.fixture(scope="module")
def energy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    encoder = settle(build_encoder(load_registry(), BACKBONE, MEAN, STD, 0, 16), 16)
    path = tmp_path_factory.mktemp("energy") / "energy.onnx"
    export_energy(encoder, CosineEnergy(), describe(encoder), path, opset=18)
    return path


def test_the_auroc_is_scikit_learns_ties_included():
    generator = np.random.default_rng(0)
    positive, negative = (generator.integers(low, low + 9, 50).astype(np.float32) for low in (0, 3))
    labels = np.repeat([1, 0], 50)
    assert auroc(positive, negative) == pytest.approx(roc_auc_score(labels, -np.concatenate([positive, negative])))
    assert auroc(np.zeros(5, np.float32), np.zeros(5, np.float32)) == 0.5


def test_the_interval_of_the_auroc_covers_near_one_where_a_bootstrap_does_not():
    generator, n, gap = np.random.default_rng(0), 40, 3.0
    true = norm.cdf(gap / np.sqrt(2))  # of two normal distributions: 0.983
    ours, theirs = 0, 0
    for _ in range(200):
        positive, negative = generator.normal(0, 1, n), generator.normal(gap, 1, n)
        low, high = auroc_interval(auroc(positive, negative), n, n)
        ours += low <= true <= high
        drawn = generator.integers(0, n, (100, 2, n))
        areas = [auroc(positive[rows[0]], negative[rows[1]]) for rows in drawn]
        theirs += np.percentile(areas, 2.5) <= true <= np.percentile(areas, 97.5)
    assert ours >= 0.94 * 200
    assert theirs < 0.93 * 200


@pytest.mark.parametrize(("area", "low", "high"), [(1.0, 0.95, 1.0), (0.0, 0.0, 0.05), (0.5, 0.38, 0.62)])
def test_the_interval_of_the_auroc_has_a_width_everywhere(area: float, low: float, high: float):
    found = auroc_interval(area, 40, 40)
    assert found[0] <= area <= found[1]
    assert found == (pytest.approx(low, abs=0.02), pytest.approx(high, abs=0.02))


def test_views_that_keep_the_image_are_told_apart_and_views_that_do_not_are_not(energy: Path, tmp_path: Path):
    held_out = split(tmp_path, 150)
    gentle = separation(energy, held_out, policies(GENTLE), "global", CosineEnergy())
    wild = separation(energy, held_out, policies(WILD), "global", CosineEnergy())
    assert gentle["auroc"] > 0.8 > 0.65 > wild["auroc"]  # the encoder is untrained
    assert gentle["interval"][0] <= gentle["auroc"] <= gentle["interval"][1]
    assert gentle["energy"] == "negative_cosine_of_embeddings"
    assert (gentle["images"], gentle["view"]) == (150, "global")
    assert separation(energy, held_out, policies(GENTLE), "global", CosineEnergy()) == gentle


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_held_out_images_are_said_to_be_so(energy: Path, tmp_path: Path, count: int):
    report = separation(energy, split(tmp_path, count), policies(GENTLE), "global", CosineEnergy())
    assert (report["auroc"], report["interval"]) == (None, None)
    assert report["reason"] == f"split 'val' has {count} images; telling pairs apart takes two"
