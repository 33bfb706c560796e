"""Pretraining on images of other bands than 8-bit RGB: the trained model records the kind of its images."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_images

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.data.agreement import PixelsChoice
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.framing import Framing
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline.data.store import open_split
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import resolve
from ssl_pipeline.training.checkpoint import Checkpoints
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.preparation import describe_run
from ssl_pipeline.training.pretraining import train
from ssl_pipeline_plugins.sources.folder import Folder
from tests.training.conftest import optimizer_of

PHOTOGRAPHS = [picture.astype(np.float32) / 255 for picture in load_sample_images().images]
WEIGHTS = np.exp(-((np.linspace(-0.5, 2.5, 13)[None] - np.arange(3)[:, None]) ** 2)).astype(np.float32)


def bands13(picture, path):
    bands = 300 * picture @ WEIGHTS + 250
    bands[:5, :6, 4] = np.nan
    np.save(path.with_suffix(".npy"), bands)


def grey12(picture, path):
    Image.fromarray((picture.mean(axis=2) * 4095).round().astype(np.uint16)).save(path.with_suffix(".png"))


@pytest.fixture(params=[bands13, grey12], ids=lambda write: write.__name__)
def pool(request, tmp_path):
    """A pool of image patches, read through a folder and a store."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(48):
        top, left = divmod(number // 2, 6)
        picture = PHOTOGRAPHS[number % 2][100 * top : 100 * top + 80, 100 * left : 100 * left + 100]
        request.param(picture, folder / f"{number:02}")
    (tmp_path / "out").mkdir()
    canvas = Canvas(16, "letterbox", (255, 255, 255), 8, 1.0, PixelsChoice(name="as_is"))
    shares = Shares(seed=0, val_fraction=0.1, test_fraction=0.2, max_reject_fraction=0.0)
    ingest(Folder(path=str(folder)).open(), tmp_path / "out", canvas, shares, tmp_path / "reports", 1)
    return open_split(tmp_path / "out" / "store", "train")


@pytest.mark.parametrize("recipe", ["simclr", "denoise"])
def test_a_pool_of_other_bands_is_learned_from(pool, build_small, configure, policies, cpu, tmp_path, recipe):
    config = configure(recipe=recipe, epochs=8)
    task = build_small(config)
    assert task.encoder.images == pool.spec
    checkpoints = Checkpoints(tmp_path / ".work", "run", {})
    with checkpoints.until_done():
        history = train(task, pool, policies, config, optimizer_of(config), Precision("fp32", cpu), checkpoints)
    losses = [row["loss"] for row in history.rows]
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    framing = Framing(16, "letterbox", (9,) * pool.spec.channels)
    card = describe_run(config, resolve(load_registry(), config), task, pool, framing, policies, {})
    assert ModelCard.model_validate_json(card.model_dump_json()).images == pool.spec
