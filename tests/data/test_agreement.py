"""The properties that all images of a data set share are determined once."""

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from pydantic import ValidationError

from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.data.agreement import PixelsChoice, agree
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.framing import read_framing
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline.data.measured import Values
from ssl_pipeline.data.store import open_split, read_originals
from ssl_pipeline.errors import PipelineError
from ssl_pipeline_plugins.sources.folder import Folder

AS_IS = PixelsChoice(name="as_is")


def values(channels: int = 1, dtype: Any = "uint16", low: float = 0, high: float = 4000, **more: Any) -> Values:
    known = {"is_rgb": False, "nodata": None, "unmeasured": 0.0, **more}
    return Values(channels, dtype, low=low, high=high, **known)


@pytest.mark.parametrize(
    ("images", "scale"),
    [
        ([values(high=700), values(high=4095)], (0, 4095)),
        ([values(high=4096)], (0, 8191)),
        ([values(high=3)], (0, 255)),
        ([values(dtype="uint8", high=7)], (0, 255)),
        ([values(dtype="float32", high=0.3)], (0, 1)),
        ([values(dtype="float32", low=250.5, high=290), values(dtype="float32", low=260, high=310)], (250.5, 310)),
    ],
)
def test_the_full_scale_is_that_of_the_data_set(images: list[Values], scale: tuple[float, float]) -> None:
    spec = agree({str(number): image for number, image in enumerate(images)}, AS_IS).spec
    assert (spec.low, spec.high) == scale


def test_options_count_more_than_what_files_say() -> None:
    choice = PixelsChoice(name="as_is", full_scale=(0, 3000), rgb=(3, 2, 1), nodata=0)
    found = agree({"a": values(5, nodata=9.0, is_rgb=True)}, choice)
    assert found.spec == ImageSpec(channels=5, dtype="uint16", low=0, high=3000, rgb=(3, 2, 1), nodata=0)
    assert "1 image has values outside ingest.pixels.full_scale" in found.remarks[1]


def test_images_unlike_most_are_told_by_what_they_have() -> None:
    images = {f"{number}": values(13) for number in range(3)} | {"x": values(3), "y": values(13, "uint8")}
    assert {path: str(reason) for path, reason in agree(images, AS_IS).odd.items()} == {
        "x": "unlike the others: 3 bands of uint16, but most images have 13 bands of uint16; "
        "ingest.pixels: rgb8 accepts both",
        "y": "unlike the others: 13 bands of uint8, but most images have 13 bands of uint16; "
        "ingest.pixels: rgb8 accepts both",
    }


@pytest.mark.parametrize(
    ("images", "choice", "message"),
    [
        ([values(nodata=0.0), values(nodata=9.0)], AS_IS, "mark unmeasured pixels with 2 different values"),
        (
            [values(nodata=0.0, low=1), values(low=1), values(low=0), values(low=0)],
            AS_IS,
            r"Some files mark .* with 0; 2 others do not, and may contain it .* \(such as 2\)\. If 0 is unmeasured",
        ),
        ([values()], PixelsChoice(name="as_is", nodata=-1), r"pixels.nodata: uint16 cannot hold the value -1"),
        ([values(2)], PixelsChoice(name="as_is", rgb=(0, 1, 2)), "pixels.rgb: .*2 bands of uint16"),
        ([values()], PixelsChoice(name="as_is", full_scale=(-1, 5)), r"full_scale: \[-1, 5\]"),
    ],
)
def test_contradictions_end_with_a_message(images: list[Values], choice: PixelsChoice, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        agree({str(number): image for number, image in enumerate(images)}, choice)


@pytest.mark.parametrize(
    ("images", "choice", "nodata"),
    [
        ([values(nodata=0.0, low=1), values(low=1)], AS_IS, 0),  # the image without a nodata value does not contain 0
        ([values(nodata=0.0, low=1), values(low=0)], PixelsChoice(name="as_is", nodata=0), 0),
        ([values(nodata=0.0, low=1), values(low=0)], PixelsChoice(name="as_is", nodata=65535), 65535),
        ([values(nodata=-9999.0), values(nodata=0.5), values()], AS_IS, None),  # the data type cannot hold these values
        ([values(nodata=-9999.0, low=1), values(nodata=0.0, low=1)], AS_IS, 0),
        ([values(dtype="float32", nodata=-9999.0, low=-5), values(dtype="float32", low=-5)], AS_IS, -9999),
    ],
)
def test_one_value_stands_for_what_was_not_measured_in_all_images(
    images: list[Values], choice: PixelsChoice, nodata: float | None
) -> None:
    assert agree({str(number): image for number, image in enumerate(images)}, choice).spec.nodata == nodata


def test_what_the_store_takes_for_measured_a_graph_does_too(tmp_path: Path) -> None:
    """One file names no nodata value but contains the others' value: it is refused, or treated like the others."""
    for folder in ("pile", "refused", "kept"):
        (tmp_path / folder).mkdir()
    random = np.random.default_rng(0)
    for number in range(40):
        image = random.integers(1, 4000, (20, 20), dtype=np.uint16)
        image[:, :9] = 0
        tags = [(42113, "s", 0, "0", True)] if number else []
        tifffile.imwrite(tmp_path / "pile" / f"{number:02}.tif", image, photometric="minisblack", extratags=tags)
    source, shares = Folder(path=str(tmp_path / "pile")).open(), Shares(0, 0.2, 0.2, 0.5)

    def run(folder: str, pixels: PixelsChoice) -> Path:
        ingest(source, tmp_path / folder, Canvas(8, "squash", (0, 0, 0), 8, 1.0, pixels), shares, tmp_path / folder, 1)
        return tmp_path / folder / "store"

    with pytest.raises(PipelineError, match=r"with 0; 1 other does not.* \(such as 00\.tif\)"):
        run("refused", AS_IS)
    store = run("kept", PixelsChoice(name="as_is", nodata=0))
    background, originals = read_framing(store).background, read_originals(store)
    assert len(originals) > 20
    for original in originals:
        split = open_split(store, original.split)
        image = torch.from_numpy(original.image[None].astype(np.int32))
        seen = fit(image, 8, "squash", background, split.spec)[0].permute(1, 2, 0) * split.spec.high
        np.testing.assert_allclose(split.images(np.array([original.row]))[0], seen, atol=0.51)


def test_a_name_alone_chooses_and_rgb8_takes_no_options() -> None:
    assert PixelsChoice.model_validate("as_is") == AS_IS
    with pytest.raises(ValidationError, match="rgb8 takes no options"):
        PixelsChoice.model_validate({"name": "rgb8", "nodata": 0})
    with pytest.raises(ValidationError, match="lowest, highest"):
        PixelsChoice.model_validate({"name": "as_is", "full_scale": [5, 5]})


@pytest.mark.parametrize(("bands", "enough"), [(1, True), (5, False)])
def test_room_on_the_disk_is_asked_for_by_bands_and_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bands: int, enough: bool
) -> None:
    """Of 20 images, 5 float bands take 25,600 bytes, 1 byte band 1,280 and RGB 3,840; twice as much is required."""
    (tmp_path / "pile").mkdir()
    for number in range(20):
        pixels = np.random.default_rng(number).random((8, 8, bands), dtype=np.float32)
        np.save(tmp_path / "pile" / f"{number}.npy", pixels if bands > 1 else (255 * pixels).astype(np.uint8))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4000))
    images, canvas = Folder(path=str(tmp_path / "pile")).open(), Canvas(8, "squash", (0, 0, 0), 8, 1.0, AS_IS)
    (tmp_path / "out").mkdir()
    with nullcontext() if enough else pytest.raises(PipelineError, match="20 images on a canvas of 8 px need 0.0 MB"):
        ingest(images, tmp_path / "out", canvas, Shares(0, 0.2, 0.2, 0.5), tmp_path / "out", 1)
    assert (tmp_path / "out" / "store").exists() == enough
