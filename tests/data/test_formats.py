"""Which files are opened, what is reported of the others, and what is noted of files that are only partly read."""

import io
import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from ssl_pipeline.data import formats
from ssl_pipeline.data.decode import Canvas, decode, read_pixels
from ssl_pipeline.data.remarks import RejectedError

CANVAS = Canvas(size=16, resize="squash", background=(200, 100, 50), min_side=8, max_megapixels=1.0)
PHOTO: npt.NDArray[np.uint8] = load_sample_image("flower.jpg")[100:140, 300:330]  # 40 high, 30 wide
GREY = PHOTO[:, :, 1]


def encoded(pixels: npt.NDArray[Any] | Image.Image, form: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def notes(content: bytes) -> list[tuple[str, str]]:
    return [tuple(note) for note in decode(content, CANVAS).notes]


def rejection(content: bytes) -> str:
    with pytest.raises(RejectedError) as caught:
        decode(content, CANVAS)
    return str(caught.value)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\nshowpage\n%%EOF\n"


def iptc(content: bytes) -> bytes:
    """Wrap an image in the format of press agencies, whose content Pillow opens in whatever format it is."""

    def field(record: int, number: int, value: bytes) -> bytes:
        return bytes([0x1C, record, number]) + struct.pack(">H", len(value)) + value

    size = field(3, 20, b"\0\x20") + field(3, 30, b"\0\x20")
    head = field(3, 60, b"\1\0") + field(3, 65, b"\1") + size + field(3, 120, b"\5")
    return head + field(8, 10, content) + field(9, 10, b"x")


@pytest.mark.parametrize("content", [EPS, iptc(EPS), iptc(iptc(EPS))], ids=["EPS", "in IPTC", "in IPTC in IPTC"])
def test_no_file_starts_a_program(content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\necho ran >> {tmp_path}/log\n[ $1 = --version ] && echo 10.0\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # Pillow looks for it once per process
    assert rejection(content).startswith("not an image: ")
    assert not (tmp_path / "log").exists()


def test_what_runs_programs_or_others_code_is_not_on_the_list() -> None:
    Image.init()
    assert not {"EPS", "IPTC", "WMF", "BUFR", "GRIB", "HDF5", "MPEG"} & set(formats.FORMATS)
    assert set(formats.FORMATS) <= set(Image.OPEN)


def test_a_format_that_another_library_has_registered_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(file: Any, name: Any) -> Any:
        raise AssertionError("it was opened")

    monkeypatch.setattr(Image, "ID", [*Image.ID, "OTHER"])
    monkeypatch.setitem(Image.OPEN, "OTHER", (never, None))
    assert rejection(b"whatever this is").startswith("not an image: ")


def heic(image: Image.Image, **options: Any) -> bytes:
    from pillow_heif import register_heif_opener

    register_heif_opener()
    return encoded(image, "HEIF", **options)


def test_heic_is_read_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # phones write it too, but HEIC has an orientation of its own, and only this one applies
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(PHOTO)))
    stored.info["exif"] = exif.tobytes()
    pixels, mode = read_pixels(heic(stored, quality=95), CANVAS)
    assert mode == "RGB"
    assert pixels.shape == PHOTO.shape
    np.testing.assert_allclose(pixels.mean(axis=(0, 1)), PHOTO.mean(axis=(0, 1)), atol=3)
    assert np.abs(pixels.astype(int) - PHOTO).mean() < 6


def test_half_a_heic_is_broken() -> None:
    content = heic(Image.fromarray(PHOTO))
    assert rejection(content[: len(content) // 2]).startswith("broken: ")
    assert rejection(content[:60]) == "broken: a HEIC file with a damaged header or index"


def test_heic_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    content = heic(Image.fromarray(PHOTO))
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert rejection(content) == "not supported: reading HEIC requires pillow-heif: pip install 'ssl-pipeline[heif]'"
    assert decode(encoded(PHOTO, "AVIF"), CANVAS).mode == "RGB"  # a relative that Pillow itself can read


def tiff(pixels: npt.NDArray[Any], colours: int = 1, extra: int = 0) -> bytes:
    """Return a plain TIFF of (H, W, bands), as microscopes or satellite software write it.

    Args:
        pixels: Pixels of any type.
        colours: Photometric interpretation: 1 for grey, 2 for RGB.
        extra: Number of bands without a stated meaning.
    """
    height, width, bands = pixels.shape
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    entries = [(256, (width,)), (257, (height,)), (258, (pixels.itemsize * 8,) * bands), (259, (1,)), (262, (colours,))]
    entries += [(273, (8,)), (277, (bands,)), (278, (height,)), (279, (pixels.nbytes,)), (339, (kind,) * bands)]
    entries += [(338, (0,) * extra)] if extra else []
    start = 8 + pixels.nbytes
    place = start + 2 + 12 * len(entries) + 4
    table, values = struct.pack("<H", len(entries)), b""
    for tag, numbers in sorted(entries):
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        table += struct.pack("<HHI", tag, 4, len(numbers))
        table += packed if len(packed) <= 4 else struct.pack("<I", place + len(values))
        values += packed if len(packed) > 4 else b""
    return struct.pack("<2sHI", b"II", 42, start) + pixels.tobytes() + table + bytes(4) + values


BANDS = np.dstack([PHOTO, PHOTO])  # 6 bands


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (tiff(np.dstack([BANDS, BANDS])), "a TIFF with 12 bands of 8-bit unsigned integers"),
        (tiff(BANDS.astype(np.uint16)), "a TIFF with 6 bands of 16-bit unsigned integers"),
        (tiff(GREY[..., None].astype(np.float64)), "a TIFF with 1 band of 64-bit floats"),
        (tiff(PHOTO.astype(np.float32), colours=2), "a TIFF with 3 bands of 32-bit floats"),
    ],
)
def test_what_pillow_cannot_show_is_described(content: bytes, words: str) -> None:
    assert rejection(content) == (
        f"not supported: {words}; only 1 to 4 bands of 8- or 16-bit integers or 1 band of 32-bit floats can be read; "
        "ingest.pixels: as_is reads others"
    )


def test_bands_beyond_the_colours_are_left_out_and_that_is_noted() -> None:
    content = tiff(BANDS[..., :5], colours=2, extra=2)
    np.testing.assert_array_equal(read_pixels(content, CANVAS)[0], PHOTO)
    assert notes(content) == [("have further bands, which were ignored", "2 beside the first 3")]
    assert notes(encoded(PHOTO, "TIFF")) == notes(encoded(GREY, "TIFF")) == []


def stack(pages: int, **options: Any) -> bytes:
    shades = [Image.fromarray(np.full_like(PHOTO, 5 * number)) for number in range(pages)]
    return encoded(shades[0], "TIFF", save_all=True, append_images=shades[1:], **options)


def test_pages_that_are_not_read_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = "have further pages, which were ignored"
    assert notes(stack(25)) == [(kind, "24 beside the first")]
    assert notes(stack(3, compression="tiff_lzw")) == [(kind, "2 beside the first")]
    monkeypatch.setattr(formats, "MAX_PAGES", 10)
    assert notes(stack(25)) == [(kind, "at least 10 beside the first")]
    assert notes(stack(10)) == [(kind, "9 beside the first")]


def test_a_damaged_page_does_not_cost_the_first() -> None:
    content = stack(3)
    tags = Image.open(io.BytesIO(content)).tag_v2
    start = content.index(struct.pack("<I", tags.next), 8)  # the first directory's pointer to the second
    assert decode(content[:start] + b"\xff\xff\xff\x7f" + content[start + 4 :], CANVAS).mode == "RGB"


def test_a_smaller_copy_of_the_first_page_is_no_page() -> None:
    pages = [Image.fromarray(PHOTO), Image.fromarray(PHOTO[::2, ::2])]
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}
    assert notes(encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])) == []


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_frames_that_are_not_read_are_counted(form: str) -> None:
    frames = [Image.fromarray(np.full_like(PHOTO, 50 * number)) for number in range(4)]
    content = encoded(frames[0], form, save_all=True, append_images=frames[1:])
    assert notes(content) == [("have further frames, which were ignored", "3 beside the first")]
    assert notes(encoded(PHOTO, form)) == []
