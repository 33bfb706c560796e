"""The record of what pixel values mean: what it refuses, what a split stores of it, and statistics on its scale."""

from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.data.store import open_split
from ssl_pipeline.data.writer import write_split
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import read_product, write_product

GREY12 = ImageSpec(channels=1, dtype="uint16", low=0, high=4095)
KELVIN = ImageSpec(channels=5, dtype="float32", low=250.0, high=330.0, rgb=(3, 2, 1), nodata=-9999.0)
IDS = np.arange(6, dtype=np.uint64)


def images_of(spec: ImageSpec) -> Pixels:
    """Return six random images of 8 px within the full scale."""
    shares = np.random.default_rng(0).random((6, 8, 8, spec.channels)) * np.linspace(0.2, 1, spec.channels)
    values = spec.low + shares * (spec.high - spec.low)
    return (values if spec.dtype == "float32" else values.round()).astype(spec.numpy_dtype)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 17}, "less than or equal to 16"),
        ({"dtype": "int16"}, "'uint8', 'uint16' or 'float32'"),
        ({"low": 255.0}, "low must be less than high"),
        ({"rgb": (0, 1, 3)}, "three of the 3 channels"),
        ({"rgb": (0, 1, 1)}, "three of the 3 channels"),
        ({"high": float("inf")}, "finite"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ImageSpec.model_validate(RGB8.model_dump() | changes)


@pytest.mark.parametrize("spec", [RGB8, GREY12, KELVIN], ids=str)
def test_a_split_gives_back_images_of_their_type_and_says_what_they_mean(tmp_path: Path, spec: ImageSpec) -> None:
    images = images_of(spec)
    write_split(tmp_path / "train", IDS, [images[:1], images[1:]], 8, spec)
    split = open_split(tmp_path, "train")
    given = split.images(np.array([4, 0]))
    assert split.spec == spec
    assert given.dtype == spec.dtype
    np.testing.assert_array_equal(given, images[[4, 0]])


@pytest.mark.parametrize("spec", [RGB8, GREY12, KELVIN], ids=str)
def test_statistics_are_shares_of_the_full_scale_however_blocks_are_cut(tmp_path: Path, spec: ImageSpec) -> None:
    images = images_of(spec)
    shares = (images.astype(np.float64) - spec.low) / (spec.high - spec.low)
    summary = write_split(tmp_path / "a", IDS, [images], 8, spec)
    np.testing.assert_allclose(summary.mean, shares.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(summary.std, shares.std(axis=(0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(summary.spread, 255 * np.sqrt(shares.var(axis=0).mean()), rtol=1e-9)
    assert write_split(tmp_path / "b", IDS, np.split(images, [1, 4]), 8, spec) == summary


def test_an_image_is_flat_by_the_full_scale_and_not_by_its_type(tmp_path: Path) -> None:
    images = np.full((6, 8, 8, 1), 2000, np.uint16)
    images[0, 0, 0] += 120  # 120 of 4095 is less than 8 of 255
    images[1, 0, 0] += 200
    assert write_split(tmp_path / "train", IDS, [images], 8, GREY12).flat == [0, 2, 3, 4, 5]


def test_a_store_of_an_earlier_version_is_named_and_not_misread(tmp_path: Path) -> None:
    write_split(tmp_path / "train", IDS, [images_of(RGB8)], 8)
    facts = read_product(tmp_path / "train" / "split.json", "ingest")
    del facts["images"]
    write_product(tmp_path / "train" / "split.json", facts)
    with pytest.raises(PipelineError, match="earlier version.*dvc repro --force ingest"):
        open_split(tmp_path, "train")
