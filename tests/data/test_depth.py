"""Values of more than 8 bits: losses are noted, and the scale is that of the format whenever the format has one."""

import struct
import zlib

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.decode import decode
from tests.data.test_decode import CANVAS, DEEP, PHOTO, as_rgb, chunk, encoded, pixels_of

FEW_BITS = "use no more than 12 of their 16 bits"


def test_a_12_bit_picture_in_a_16_bit_file_keeps_its_scale_and_is_noted() -> None:
    ramp = np.linspace(0, 4095, 1200).round().astype(np.uint16).reshape(40, 30)
    for content in (encoded(ramp, "PNG"), encoded(ramp, "TIFF")):
        decoded = decode(content, CANVAS)
        assert decoded.notes == (
            (FEW_BITS, "17 of 256 levels are left, as 65,535 becomes white; ingest.pixels: as_is keeps all values"),
        )
        np.testing.assert_array_equal(pixels_of(content), as_rgb(np.floor(ramp / 257 + 0.5).astype(np.uint8)))
    ramp[0, 0] = 4096
    assert decode(encoded(ramp, "PNG"), CANVAS).notes == ()
    assert decode(encoded(np.zeros((9, 9), np.uint16), "PNG"), CANVAS).notes == ()  # nothing is lost of a black image


def deep_png(pixels: npt.NDArray[np.uint16]) -> bytes:
    """Return a PNG of 16 bits per band, which Pillow can read but not write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_12_bits_of_colours_are_noted_too() -> None:
    deep = PHOTO.astype(np.uint16) * 16  # up to 4,080
    assert [note.kind for note in decode(deep_png(deep), CANVAS).notes] == [FEW_BITS]
    assert decode(deep_png(deep * 16), CANVAS).notes == ()
    assert decode(encoded(PHOTO // 20, "PNG"), CANVAS).notes == ()  # equally dark, but of 8 bits


def test_16_bits_a_pixel_are_not_16_bits_a_band() -> None:
    width, height, dark = 8, 8, 0b00001_000001_00001  # as 5, 6 and 5 bits
    sizes = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 3, 2 * width * height, 0, 0, 0, 0)
    head = struct.pack("<2sIII", b"BM", 66 + 2 * width * height, 0, 66)
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    content = head + sizes + masks + struct.pack("<H", dark) * (width * height)
    assert 0 < pixels_of(content).max() < 16
    assert decode(content, CANVAS).notes == ()


def test_values_without_a_scale_of_their_own_are_noted() -> None:
    for kind, words in (("float TIFF of any range", "float values from -20000 to 45535"), ("32-bit TIFF", "32-bit")):
        (note,) = decode(DEEP[kind](), CANVAS).notes
        assert note.kind == "are scaled by their own value range"
        assert note.detail.startswith(words)
    assert decode(DEEP["float TIFF from 0 to 1"](), CANVAS).notes == ()
