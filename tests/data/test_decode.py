"""Every kind of image that Pillow reads gives the right RGB pixels, and every kind of broken image a reason."""

import io
import pickle
import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, TiffImagePlugin
from sklearn.datasets import load_sample_image

from ssl_pipeline.data import identity
from ssl_pipeline.data.decode import Canvas, decode, read_pixels
from ssl_pipeline.data.identity import content_hash
from ssl_pipeline.data.remarks import RejectedError

CANVAS = Canvas(size=16, resize="squash", background=(200, 100, 50), min_side=8, max_megapixels=1.0)
PHOTO: npt.NDArray[np.uint8] = load_sample_image("flower.jpg")[100:140, 300:330]  # 40 high, 30 wide
GREY = PHOTO[:, :, 1]


PILLOWS_LIMIT = Image.MAX_IMAGE_PIXELS


def encoded(pixels: npt.NDArray[Any] | Image.Image, form: str, **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def pixels_of(content: bytes) -> npt.NDArray[np.uint8]:
    return read_pixels(content, CANVAS)[0]


def as_rgb(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.repeat(grey[:, :, None], 3, axis=2)


STORED = {  # by EXIF orientation: what a camera stores of an upright picture
    1: lambda picture: picture,
    2: lambda picture: picture[:, ::-1],
    3: lambda picture: picture[::-1, ::-1],
    4: lambda picture: picture[::-1],
    5: lambda picture: picture.transpose(1, 0, 2),
    6: lambda picture: np.rot90(picture, 1),
    7: lambda picture: np.rot90(picture.transpose(1, 0, 2), 2),
    8: lambda picture: np.rot90(picture, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_pictures_are_upright(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation](PHOTO))
    content = encoded(stored, form, exif=exif, **({"lossless": True, "exact": True} if form == "WEBP" else {}))
    np.testing.assert_array_equal(pixels_of(content), PHOTO)


@pytest.mark.parametrize("block", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0" + b"\xff" * 40])
def test_a_broken_exif_block_does_not_cost_the_picture(block: bytes) -> None:
    content = encoded(PHOTO, "PNG", exif=block)
    np.testing.assert_array_equal(pixels_of(content), PHOTO)


def test_transparency_shows_the_background() -> None:
    alpha = np.tile(np.array([0, 255, 128], np.uint8), (40, 10))
    share = alpha[:, :, None] / 255
    rgba = np.dstack([PHOTO, alpha])
    expected = PHOTO * share + np.array(CANVAS.background) * (1 - share)
    np.testing.assert_allclose(pixels_of(encoded(rgba, "PNG")), expected, atol=1)
    grey_alpha = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
    expected = as_rgb(GREY) * share + np.array(CANVAS.background) * (1 - share)
    np.testing.assert_allclose(pixels_of(encoded(grey_alpha, "PNG")), expected, atol=1)


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_palettes_with_a_transparent_colour(form: str) -> None:
    indices = np.arange(1200, dtype=np.uint8).reshape(40, 30) % 5
    palette = np.array([[10, 20, 30], [250, 0, 0], [0, 250, 0], [0, 0, 250], [90, 90, 90]], np.uint8)
    image = Image.fromarray(indices, "L").convert("P")
    image.putpalette(palette.tobytes())
    image.putdata(indices.ravel().tolist())
    expected = palette[indices]
    np.testing.assert_array_equal(pixels_of(encoded(image, form)), expected)
    expected[indices == 2] = CANVAS.background
    np.testing.assert_array_equal(pixels_of(encoded(image, form, transparency=2)), expected)


def test_a_transparent_colour_of_an_rgb_or_grey_png() -> None:
    colour = tuple(int(value) for value in PHOTO[5, 5])
    expected = PHOTO.copy()
    expected[np.equal(PHOTO, PHOTO[5, 5]).all(axis=2)] = CANVAS.background
    np.testing.assert_array_equal(pixels_of(encoded(PHOTO, "PNG", transparency=colour)), expected)
    expected = as_rgb(GREY)
    expected[np.equal(GREY, GREY[5, 5])] = CANVAS.background
    np.testing.assert_array_equal(pixels_of(encoded(GREY, "PNG", transparency=int(GREY[5, 5]))), expected)


RAMP = np.linspace(0, 65535, 1200).round().reshape(40, 30)
RAMP_8 = as_rgb(np.floor(RAMP / 257 + 0.5).astype(np.uint8))


def big_endian_tiff() -> bytes:
    tags = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"MM")
    return encoded(Image.frombytes("I;16B", (30, 40), RAMP.astype(">u2").tobytes()), "TIFF", tiffinfo=tags)


DEEP = {
    "16-bit PNG": lambda: encoded(RAMP.astype(np.uint16), "PNG"),
    "16-bit TIFF": lambda: encoded(RAMP.astype(np.uint16), "TIFF"),
    "16-bit TIFF, big-endian": big_endian_tiff,
    "16-bit PGM": lambda: b"P5 30 40 65535\n" + RAMP.astype(">u2").tobytes(),
    "float TIFF from 0 to 1": lambda: encoded((RAMP / 65535).astype(np.float32), "TIFF"),
    "float TIFF of any range": lambda: encoded((RAMP - 20_000).astype(np.float32), "TIFF"),
    "32-bit TIFF": lambda: encoded((RAMP * 30_000 - 10**9).astype(np.int32), "TIFF"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_more_than_8_bits_are_scaled_not_cut(kind: str) -> None:
    np.testing.assert_allclose(pixels_of(DEEP[kind]()).astype(int), RAMP_8.astype(int), atol=1)


def test_a_dim_16_bit_image_stays_dim() -> None:
    np.testing.assert_array_equal(pixels_of(encoded(np.full((9, 9), 257 * 7, np.uint16), "PNG")), 7)
    np.testing.assert_array_equal(pixels_of(encoded(np.full((9, 9), 0.5, np.float32), "TIFF")), 128)
    np.testing.assert_array_equal(pixels_of(encoded(np.full((9, 9), 70.0, np.float32), "TIFF")), 0)  # no range to scale


def test_other_modes() -> None:
    bits = Image.fromarray(GREY).convert("1")
    np.testing.assert_array_equal(pixels_of(encoded(bits, "PNG")), as_rgb(np.asarray(bits).astype(np.uint8) * 255))
    np.testing.assert_array_equal(pixels_of(encoded(GREY, "PNG")), as_rgb(GREY))
    inks = Image.fromarray(np.dstack([255 - PHOTO, np.zeros_like(GREY)]), "CMYK")
    np.testing.assert_allclose(pixels_of(encoded(inks, "TIFF")).astype(int), PHOTO, atol=1)
    np.testing.assert_allclose(pixels_of(encoded(inks, "JPEG", quality=100)).astype(int), PHOTO, atol=12)
    white = Image.new("LAB", (9, 9), (255, 128, 128))
    np.testing.assert_allclose(pixels_of(encoded(white, "TIFF")).astype(int), 255, atol=1)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_an_animation(form: str) -> None:
    frames = [Image.fromarray(np.full((9, 12, 3), shade, np.uint8)) for shade in (40, 200)]
    content = encoded(
        frames[0], form, save_all=True, append_images=frames[1:], **({"lossless": True} if form == "WEBP" else {})
    )
    np.testing.assert_array_equal(pixels_of(content), np.full((9, 12, 3), 40))


def test_an_icc_profile_changes_nothing() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(pixels_of(encoded(PHOTO, "PNG", icc_profile=profile)), PHOTO)
    np.testing.assert_array_equal(pixels_of(encoded(PHOTO, "PNG", icc_profile=b"no profile")), PHOTO)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def bomb(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims to have the given size."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def damaged(content: bytes, start: int) -> bytes:
    return content[:start] + b"\xff" * 40 + content[start + 40 :]


NOT_FINITE = np.where(RAMP > 60_000, np.nan, RAMP).astype(np.float32)

BROKEN: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty file"),
    "text": (lambda: b"this is no image, whatever its name", "not an image"),
    "zeros": (lambda: bytes(5000), "not an image"),
    "a program": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\n%%EOF\n", "not an image"),
    "half a JPEG": (lambda: half(encoded(PHOTO, "JPEG")), "broken"),
    "half a PNG": (lambda: half(encoded(PHOTO, "PNG")), "broken"),
    "half a GIF": (lambda: half(encoded(PHOTO, "GIF")), "broken"),
    "half a WEBP": (lambda: half(encoded(PHOTO, "WEBP")), "broken"),
    "half a TIFF": (lambda: half(encoded(PHOTO, "TIFF")), "broken"),
    "half a packed TIFF": (lambda: encoded(PHOTO, "TIFF", compression="tiff_lzw")[:1500], "not an image"),
    "a damaged packed TIFF": (lambda: damaged(encoded(PHOTO, "TIFF", compression="tiff_lzw"), 20), "broken"),
    "half an AVIF": (lambda: half(encoded(PHOTO, "AVIF")), "not an image"),
    "only the head of a JPEG": (lambda: encoded(PHOTO, "JPEG")[:200], "broken"),
    "a damaged PNG": (lambda: damaged(encoded(PHOTO, "PNG"), 1000), "broken"),
    "not a number": (lambda: encoded(NOT_FINITE, "TIFF"), "broken"),
    "1.1 megapixels": (lambda: encoded(Image.new("1", (1100, 1000)), "PNG"), "too large"),
    "2.1 megapixels": (lambda: bomb(2100, 1000), "too large"),
    "a bomb": (lambda: bomb(100_000, 100_000), "too large"),
    "seven pixels high": (lambda: encoded(PHOTO[:7], "PNG"), "too small"),
    "too small, by a header before broken pixels": (lambda: bomb(7, 70), "too small"),
    "one pixel": (lambda: encoded(PHOTO[:1, :1], "PNG"), "too small"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_used_is_rejected_quietly(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, kind = BROKEN[name]
    with pytest.raises(RejectedError) as caught:
        decode(make(), CANVAS)
    assert caught.value.kind == kind
    assert str(caught.value).startswith(kind)
    assert PILLOWS_LIMIT == Image.MAX_IMAGE_PIXELS
    assert capfd.readouterr() == ("", "")


def test_pillows_log_stays_silent() -> None:
    """This needs a separate process: pytest captures the log, and Python prints log records that nobody captures."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[277] = 7
    odd = encoded(PHOTO, "TIFF", tiffinfo=tags).replace(
        struct.pack("<HHIH", 277, 3, 1, 3), struct.pack("<HHIH", 277, 3, 1, 7)
    )
    program = (
        "import sys; from ssl_pipeline.data.decode import *; from ssl_pipeline.data.remarks import RejectedError\n"
        "try: decode(sys.stdin.buffer.read(), Canvas(8, 'squash', (0, 0, 0), 8, 1.0))\n"
        "except RejectedError as error: print(error.kind)"
    )
    run = subprocess.run([sys.executable, "-c", program], input=odd, capture_output=True, check=True)
    assert (run.stdout, run.stderr) == (b"not supported\n", b"")


def test_the_least_and_the_largest_that_can_be_used() -> None:
    decode(encoded(PHOTO[:8, :8], "PNG"), CANVAS)
    decode(encoded(Image.new("1", (1000, 1000)), "PNG"), CANVAS)


def test_a_limit_above_pillows_own_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow would refuse the photo
    np.testing.assert_array_equal(pixels_of(encoded(PHOTO, "PNG")), PHOTO)


def test_no_warning_leaves() -> None:
    image = Image.fromarray(GREY).convert("P")
    content = encoded(image, "PNG", transparency=bytes(range(256)))  # Pillow warns when it converts this image
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(content, CANVAS)


def test_a_rejection_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(RejectedError("too small", "3 x 4 px")))
    assert (error.kind, str(error)) == ("too small", "too small: 3 x 4 px")


def test_the_hash_is_of_the_picture_not_of_the_file() -> None:
    png, bmp = (decode(encoded(PHOTO, form), CANVAS) for form in ("PNG", "BMP"))
    assert png.digest == bmp.digest == content_hash(PHOTO)
    assert png.digest != decode(encoded(PHOTO + np.eye(40, 30, dtype=np.uint8)[:, :, None], "PNG"), CANVAS).digest
    assert content_hash(PHOTO) != content_hash(PHOTO.reshape(30, 40, 3))


@pytest.mark.parametrize("rows", [1, 7, 39, 40])
def test_a_large_picture_is_hashed_by_bands_of_its_rows(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_BAND_BYTES", rows * PHOTO.shape[1] * 3)
    assert identity.image_hash(Image.fromarray(PHOTO)) == content_hash(PHOTO)
