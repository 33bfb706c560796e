"""Thresholds of cosines hold on other images than those that set them, at the rates reported with them."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ssl_pipeline.curation.thresholds import _quantile, find_thresholds, reencoded
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.data.store import Split, open_split
from ssl_pipeline.deployment import runtime
from ssl_pipeline.deployment.stored import embed_stored
from ssl_pipeline.neighbours import nearest
from tests.factories import cpu_alone, digits_store
from tests.page.small_run import write_backbone

SIZES = {"train": 600, "val": 200, "test": 400}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a store of real digits and a backbone that multiplies their pixels by a fixed matrix."""
    root = tmp_path_factory.mktemp("digits")
    digits_store(root / "store", SIZES)
    write_backbone(root / "backbone.onnx")
    return root


def splits(root: Path) -> tuple[Split, Split, Split]:
    train, val, test = (open_split(root / "store", name) for name in ("train", "val", "test"))
    return train, val, test


def test_they_hold_on_images_that_they_were_not_found_on(store: Path):
    train, val, test = splits(store)
    found = find_thresholds(store / "backbone.onnx", train, val)
    assert list(found) == ["same_image", "novel", "near_duplicate"]
    assert found["same_image"]["images"] == found["novel"]["images"] == 200
    assert found["novel"]["false_alarms"] == pytest.approx(10 / 201, abs=1e-6)
    embeddings = embed_stored(store / "backbone.onnx", [train, test], np.arange(1000))
    seen, new = embeddings[:600], embeddings[600:]
    closest = nearest(seen, new, 1)[0][:, 0]
    alarms = int((closest < found["novel"]["cosine"]).sum())
    expected = stats.betabinom(400, 10, 191)  # number of 400 new images below the 10th of 200
    assert expected.ppf(0.005) <= alarms <= expected.ppf(0.995)
    inverted = Split(**{**vars_of(test), "shards": tuple(255 - shard for shard in test.shards), "files": ()})
    strangers = embed_stored(store / "backbone.onnx", [inverted], np.arange(400))
    assert (nearest(seen, strangers, 1)[0][:, 0] < found["novel"]["cosine"]).mean() > 0.9


def vars_of(split: Split) -> dict[str, object]:
    names = ("name", "canvas", "ids", "mean", "std", "sha256", "shards", "files", "spec")
    return {name: getattr(split, name) for name in names}


def test_they_are_the_same_each_time_whether_or_not_there_is_a_gpu(store: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runtime, "wanted", cpu_alone)
    train, val, _ = splits(store)
    first, second = (find_thresholds(store / "backbone.onnx", train, val) for _ in range(2))
    assert first == second


def test_with_few_images_the_rates_are_what_can_be_had(store: Path):
    train, val, _ = splits(store)
    few = Split(**{**vars_of(val), "ids": val.ids[:4], "shards": (val.images(np.arange(4)),), "files": ()})
    found = find_thresholds(store / "backbone.onnx", train, few)
    assert found["novel"]["false_alarms"] == found["same_image"]["copies_missed"] == 0.2
    none = Split(**{**vars_of(val), "ids": val.ids[:0], "shards": (), "files": ()})
    assert find_thresholds(store / "backbone.onnx", train, none) == {}


@pytest.mark.parametrize(("count", "rate"), [(19, 0.05), (200, 0.05), (500, 0.01), (3, 0.05)])
def test_a_new_value_is_below_a_quantile_as_often_as_is_said(count: int, rate: float):
    draws = np.random.default_rng(0).uniform(size=(4000, count + 1)).astype(np.float32)
    below = [row[-1] < _quantile(row[:-1], rate)[0] for row in draws]
    stated = _quantile(draws[0, :-1], rate)[1]
    assert stated <= max(rate, 1 / (count + 1)) + 1e-6
    assert np.mean(below) == pytest.approx(stated, abs=4 * (stated / 4000) ** 0.5)


@pytest.mark.parametrize(
    "spec",
    [
        RGB8,
        ImageSpec(channels=5, dtype="uint16", low=10, high=4000, nodata=7),
        ImageSpec(channels=2, dtype="float32", low=-1, high=3),
    ],
    ids=str,
)
def test_a_copy_is_near_its_image_and_lacks_the_same_pixels(spec: ImageSpec):
    ramp = np.add.outer(np.arange(16), np.arange(24)) / 38
    image = (spec.low + np.repeat(ramp[..., None], spec.channels, axis=2) * (spec.high - spec.low)).astype(
        spec.numpy_dtype
    )
    if spec.may_lack_pixels:
        image[3, 4:6] = np.nan if spec.nodata is None else spec.nodata
    copy = reencoded(image, spec)
    assert (copy.shape, copy.dtype) == (image.shape, image.dtype)
    np.testing.assert_array_equal(np.isnan(copy), np.isnan(image))
    np.testing.assert_array_equal(copy == spec.nodata, image == spec.nodata)
    far = np.abs(copy.astype(np.float64) - image) / (spec.high - spec.low)
    assert 0 < np.nanmean(far) < 0.02
