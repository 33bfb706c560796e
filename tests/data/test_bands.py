"""Images that are stored as they are: what is read from which file, what is refused, and how a data set agrees."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from ssl_pipeline.augment.geometry import fit
from ssl_pipeline.data.agreement import PixelsChoice
from ssl_pipeline.data.decode import Canvas, decode, read_pixels
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline.data.measured import Values
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.store import open_split, read_originals
from ssl_pipeline_plugins.sources.folder import Folder

AS_IS = PixelsChoice(name="as_is")
CANVAS = Canvas(16, "squash", (255, 255, 255), 8, 1.0, AS_IS)
SHARES = Shares(seed=0, val_fraction=0.15, test_fraction=0.25, max_reject_fraction=0.5)
RANDOM = np.random.default_rng(0)
BANDS13 = RANDOM.random((30, 40, 13), dtype=np.float32)
GREY12 = RANDOM.integers(0, 4096, (30, 40)).astype(np.uint16)
RGBA = RANDOM.integers(0, 256, (30, 40, 4)).astype(np.uint8)
Array = npt.NDArray[Any]


def tiff(pixels: Array, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **{"photometric": "minisblack", **options})
    return file.getvalue()


def npy(pixels: Array) -> bytes:
    file = io.BytesIO()
    np.save(file, pixels)
    return file.getvalue()


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def planes(pixels: Array) -> Array:
    return np.ascontiguousarray(np.moveaxis(pixels, 2, 0))


FILES = {
    "TIFF, interleaved": (tiff(BANDS13, planarconfig="contig"), BANDS13),
    "TIFF, in planes": (tiff(planes(BANDS13), planarconfig="separate"), BANDS13),
    "TIFF, a band in each page": (tiff(planes(BANDS13)), BANDS13),
    "TIFF, big-endian and deflated": (tiff(BANDS13, planarconfig="contig", compression="zlib", byteorder=">"), BANDS13),
    "TIFF, 16 bits": (tiff(GREY12), GREY12[..., None]),
    "TIFF, RGB of 16 bits": (tiff(BANDS13[..., :3].astype(np.uint16), photometric="rgb"), None),
    "TIFF, LZW": (saved(Image.fromarray(GREY12), "TIFF", compression="tiff_lzw"), GREY12[..., None]),
    "TIFF, signed": (tiff(GREY12.astype(np.int16) - 99), GREY12[..., None].astype(np.float32) - 99),
    "TIFF, turned": (tiff(GREY12, extratags=[(274, "H", 1, 6, True)]), np.rot90(GREY12, -1)[..., None]),
    "npy": (npy(BANDS13), BANDS13),
    "npy, by columns": (npy(np.asfortranarray(BANDS13)), BANDS13),
    "npy, big-endian": (npy(BANDS13.astype(">f4")), BANDS13),
    "npy, yes and no": (npy(GREY12 > 2000), ((GREY12 > 2000) * np.uint8(255))[..., None]),
    "PNG, grey of 16 bits": (saved(Image.fromarray(GREY12), "PNG"), GREY12[..., None]),
    "PNG, RGBA": (saved(Image.fromarray(RGBA), "PNG"), RGBA),
    "PNG, grey": (saved(Image.fromarray(RGBA[..., 0]), "PNG"), RGBA[..., :1]),
    "BMP": (saved(Image.fromarray(RGBA[..., :3]), "BMP"), RGBA[..., :3]),
}


@pytest.mark.parametrize("name", FILES)
def test_values_are_read_as_they_are(name: str) -> None:
    content, expected = FILES[name]
    if expected is None:
        expected = BANDS13[..., :3].astype(np.uint16)
    pixels, _ = read_pixels(content, CANVAS)
    assert pixels.dtype == expected.dtype
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (npy(np.array([[{}] * 9] * 9)), "not supported: an array of Python objects"),
        (npy(np.ones((9, 9), complex)), "values of type complex128"),
        (npy(planes(BANDS13)), "move that axis to the end"),
        (npy(np.ones((9, 9, 17))), "with 1 to 16 bands"),
        (npy(np.ones((1, 1), np.uint8)).replace(b"(1, 1)", b"(99999, 99999)"), "too large: 99999 x 99999 px"),
        (npy(BANDS13)[:-4], "broken: 62,396 bytes of values instead of 62,400"),
        (npy(BANDS13)[:20], "broken"),
        (npy(np.full((9, 9), np.nan)), "empty: all of its pixels are nodata"),
        (tiff(BANDS13, planarconfig="contig")[:-99], "broken: its end is missing"),
        (tiff(BANDS13, planarconfig="contig", compression="zlib")[:-99], "broken"),
        (tiff(BANDS13)[:6], "broken"),
        (tiff(np.ones((9, 9, 17), np.uint8), planarconfig="contig"), "17 bands .*; 1 to 16 can be read"),
        (tiff(np.ones((4, 9), np.uint8)), "too small"),
        (b"II*\0" + b"\xff" * 40, "broken"),
        (saved(Image.fromarray(GREY12).resize((3, 30)), "PNG"), "too small"),
    ],
)
def test_what_cannot_be_kept_is_refused_in_words(content: bytes, reason: str) -> None:
    with pytest.raises(RejectedError, match=reason):
        decode(content, CANVAS)


def test_bands_in_a_compression_that_nobody_here_knows_are_refused() -> None:
    content = bytearray(tiff(BANDS13, planarconfig="contig", compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(bytes(content))) as file:
        place = file.pages.first.tags["Compression"].valueoffset
    content[place : place + 2] = (5).to_bytes(2, "little")
    with pytest.raises(RejectedError, match="13 bands compressed with LZW: pip install imagecodecs"):
        decode(bytes(content), CANVAS)


def test_what_rgb8_does_not_read_names_what_does() -> None:
    rgb8 = Canvas(16, "squash", (255, 255, 255), 8, 1.0)
    for content in (npy(BANDS13), tiff(BANDS13, planarconfig="contig")):
        with pytest.raises(RejectedError, match="ingest.pixels: as_is"):
            decode(content, rgb8)


@pytest.mark.parametrize("resize", ["squash", "crop", "letterbox"])
def test_a_canvas_is_what_a_deployed_graph_makes_of_the_image(resize: Any) -> None:
    pixels = BANDS13.copy()
    pixels[3:14, 5:30, 2] = np.nan
    pixels[:4, :, 7] = -9999
    content = tiff(pixels, planarconfig="contig", extratags=[(42113, "s", 0, "-9999", True)])
    found = decode(content, Canvas(16, resize, (255, 255, 255), 8, 1.0, AS_IS))
    assert found.values == Values(13, "float32", False, *found.values[3:5], -9999.0, found.values[6])
    assert 0 <= found.values.low < found.values.high <= 1
    np.testing.assert_allclose(found.values.unmeasured, (11 * 25 + 4 * 40) / (13 * 1200))
    canvas = np.frombuffer(found.canvas, np.float32).reshape(16, 16, 13)
    gaps = np.unpackbits(np.frombuffer(found.gaps, np.uint8), count=canvas.size).reshape(canvas.shape).astype(bool)
    spec = ImageSpec(channels=13, dtype="float32", low=0, high=1, nodata=-9999)
    expected = fit(torch.from_numpy(pixels[None]), 16, resize, (0.5,) * 13, spec)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(np.where(gaps, 0.5, canvas), expected, atol=2e-6)
    assert gaps[:, :, 2].sum() > gaps[:, :, 0].sum()


def test_a_folder_of_bands_becomes_a_store_without_gaps(tmp_path: Path) -> None:
    for number in range(40):
        scene = 100 * np.random.default_rng(number).random((20, 24, 5), dtype=np.float32) + np.arange(5, dtype="f4")
        if number % 4 == 0:
            scene[:8, :8] = np.nan
        path = tmp_path / "pile" / str(number % 2) / f"{number:02}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(tiff(scene, planarconfig="contig"))
    (tmp_path / "pile" / "0" / "grey.png").write_bytes(saved(Image.fromarray(GREY12), "PNG"))
    manifests = []
    for name in ("a", "b"):
        out = tmp_path / name
        out.mkdir()
        source = Folder(path=str(tmp_path / "pile")).open()
        canvas = Canvas(8, "letterbox", (255, 255, 255), 8, 1.0, AS_IS)
        manifests.append(ingest(source, out, canvas, SHARES, out / "reports", 1 if name == "a" else 2))
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / name / "store/train").iterdir()} for name in "ab")
    assert first == second
    with (tmp_path / "a" / "rejects.csv").open(newline="") as file:
        (rejected,) = csv.DictReader(file)
    assert rejected["path"] == "0/grey.png"
    assert "1 band of uint16, but most images have 5 bands of float32" in rejected["reason"]
    assert any("10 images have unmeasured pixels" in line for line in manifests[0]["warnings"])
    split = open_split(tmp_path / "a" / "store", "train")
    assert split.spec == ImageSpec.model_validate(manifests[0]["images"])
    images, background = split.images(np.arange(len(split))), np.array(manifests[0]["background"], np.float32)
    assert np.isfinite(images).all()
    assert (images[:, 7] == background).all()  # a border of the letterbox
    np.testing.assert_allclose(background, (images.mean(axis=(0, 1, 2))), rtol=1e-5)
    mean = split.spec.low + np.array(split.mean) * (split.spec.high - split.spec.low)
    np.testing.assert_allclose(mean, background, rtol=1e-5)
    originals = read_originals(tmp_path / "a" / "store")
    assert any(np.isnan(original.image).any() for original in originals)
    for original in originals:
        canvas = open_split(tmp_path / "a" / "store", original.split).images(np.array([original.row]))
        again = fit(torch.from_numpy(original.image[None]), 8, "letterbox", tuple(background.tolist()), split.spec)
        expected = fit(torch.from_numpy(canvas), 8, "letterbox", (0,) * 5, split.spec)
        assert (again - expected).abs().max() < 1e-5


def test_copies_are_found_by_their_bands(tmp_path: Path) -> None:
    photographs = [picture[..., 1].astype(np.uint16) * 16 for picture in load_sample_images().images]  # 12 bits
    (tmp_path / "pile").mkdir()
    for number in range(8):
        picture = photographs[number % 2][number * 30 : number * 30 + 160, number * 50 : number * 50 + 200]
        (tmp_path / "pile" / f"{number}.npy").write_bytes(npy(picture))
    (tmp_path / "pile" / "same.tif").write_bytes(tiff(picture))
    small = Image.fromarray(picture.astype(np.float32)).resize((100, 80))
    (tmp_path / "pile" / "small.tif").write_bytes(tiff(np.array(small).astype(np.uint16)))
    source = Folder(path=str(tmp_path / "pile")).open()
    (tmp_path / "out").mkdir()
    manifest = ingest(source, tmp_path / "out", CANVAS, SHARES, tmp_path / "reports", 1)
    assert manifest["images"]["high"] == 4095
    assert manifest["counts"]["duplicates"] == 1
    assert manifest["counts"]["near_copies"] == 1
