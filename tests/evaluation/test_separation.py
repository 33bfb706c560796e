"""How well energy.onnx separates positive pairs from random pairs."""

from pathlib import Path

import numpy as np
import pytest

from ssl_pipeline.artifacts.assembly import build_encoder
from ssl_pipeline.augment.policy import Policies, Policy
from ssl_pipeline.data.store import Split, open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.deployment.energy_graph import export_energy
from ssl_pipeline.evaluation.separation import separation
from ssl_pipeline.loading import load_registry
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


def test_views_that_keep_the_image_are_told_apart_and_views_that_do_not_are_not(energy: Path, tmp_path: Path):
    held_out = split(tmp_path, 150)
    gentle = separation(energy, held_out, policies(GENTLE), "global", CosineEnergy())
    wild = separation(energy, held_out, policies(WILD), "global", CosineEnergy())
    assert gentle["auroc"] > 0.8 > 0.65 > wild["auroc"]  # though the encoder is untrained
    assert gentle["interval"][0] <= gentle["auroc"] <= gentle["interval"][1]
    assert gentle["energy"] == "negative_cosine_of_embeddings"
    assert (gentle["images"], gentle["view"]) == (150, "global")
    assert separation(energy, held_out, policies(GENTLE), "global", CosineEnergy()) == gentle


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_held_out_images_are_said_to_be_so(energy: Path, tmp_path: Path, count: int):
    report = separation(energy, split(tmp_path, count), policies(GENTLE), "global", CosineEnergy())
    assert (report["auroc"], report["interval"]) == (None, None)
    assert report["reason"] == f"split 'val' has {count} images; separating pairs takes at least two"
