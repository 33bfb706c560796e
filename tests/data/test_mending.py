"""Files that every viewer shows are accepted, what they lack is measured, and half a picture is still rejected."""

import io
import random
import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from sklearn.datasets import load_sample_image

from ssl_pipeline.data.decode import Canvas, Decoded, decode, read_pixels
from ssl_pipeline.data.remarks import RejectedError
from tests.data.test_formats import PHOTO, encoded, notes

CANVAS = Canvas(size=16, resize="squash", background=(200, 100, 50), min_side=8, max_megapixels=1.0)
CHINA = Image.fromarray(load_sample_image("china.jpg")).resize((320, 213))


def pixels_of(content: bytes) -> npt.NDArray[np.int64]:
    return read_pixels(content, CANVAS)[0].astype(int)


def outcome_of(content: bytes) -> Decoded | RejectedError:
    try:
        return decode(content, CANVAS)
    except RejectedError as error:
        return error


def share_lost(whole: npt.NDArray[np.int64], kept: npt.NDArray[np.int64], unit: int) -> float:
    """Return the share of a picture from the first differing coded unit onwards; blur from that unit does not count."""
    differs = np.abs(whole - kept).max(axis=2) > 0
    if not differs.any():
        return 0.0
    top = (int(differs.any(axis=1).argmax()) + 1) // unit * unit
    inside = differs[max(0, top - 1) : top + unit - 1].any(axis=0)
    left = (int(inside.argmax()) + 1) // unit * unit
    height, width = differs.shape
    rows = min(unit, height - top)
    return (height - top - rows + rows * (1 - left / width)) / height


KINDS: dict[str, tuple[str, int, dict[str, Any]]] = {
    "baseline": ("RGB", 16, {}),
    "full colour": ("RGB", 8, {"subsampling": 0}),
    "grey": ("L", 8, {}),
    "inks": ("CMYK", 8, {}),
    "restarts": ("RGB", 16, {"restart_marker_blocks": 5}),
    "progressive": ("RGB", 16, {"progressive": True}),
    "the best quality": ("RGB", 16, {"quality": 100}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_is_kept_if_at_most_a_hundredth_of_its_rows_is_missing(kind: str) -> None:
    mode, unit, options = KINDS[kind]
    content = encoded(CHINA.convert(mode), "JPEG", **options)
    whole = pixels_of(content)
    draw = random.Random(kind)
    kept = 0
    for cut in [1, 2, 3, 5, 10, 20, 40, *(draw.randrange(50, 500) for _ in range(6)), len(content) // 2]:
        shown = np.asarray(Image.open(io.BytesIO(content[:-cut].rstrip(b"\xff") + b"\xff\xd9")).convert("RGB"))
        lost = share_lost(whole, shown.astype(int), unit)
        outcome = outcome_of(content[:-cut])
        if isinstance(outcome, RejectedError):
            assert lost > 0.005, (cut, lost)  # losses are rounded up to whole units
            assert str(outcome).startswith("broken: OSError: image file is truncated")
            continue
        kept += 1
        assert lost <= 0.01, (cut, lost)
        (note,) = outcome.notes
        assert note.kind == "lack their last bytes"
        assert abs(float(note.detail.split()[0]) - lost * 213) < 2.2
        np.testing.assert_array_equal(pixels_of(content[:-cut]), shown)
    assert kept >= 3
    with pytest.raises(RejectedError, match="broken"):
        decode(content[: len(content) // 2], CANVAS)


def test_a_progressive_jpeg_that_lacks_a_scan_is_broken() -> None:
    """The whole picture is there, but coarse: not only its last rows are affected."""
    content = encoded(CHINA, "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    for end in (last, last + 2, last + 6):
        with pytest.raises(RejectedError, match="broken"):
            decode(content[:end], CANVAS)


def test_a_jpeg_that_ends_where_an_interval_does_is_broken() -> None:
    """Decoders skip whatever is not a marker between two restart markers, so nothing seems to depend on it."""
    content = encoded(CHINA, "JPEG", restart_marker_blocks=5)
    ends = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", content)]
    for end in ends[5:-5:6]:
        for cut in (end, end + 1, end + 2):
            with pytest.raises(RejectedError, match="broken"):
                decode(content[:cut], CANVAS)


def test_other_damage_of_a_jpeg_is_told_as_it_was() -> None:
    content = encoded(CHINA, "JPEG")
    for damaged in (content[:100], content[:300], content[:2] + content[400:]):
        with pytest.raises(RejectedError, match="broken|not an image"):
            decode(damaged, CANVAS)


def text(length: int, compressed: bool = True) -> PngInfo:
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", "x" * length, zip=compressed)
    return info


@pytest.mark.parametrize("late", [False, True], ids=["before the pixels", "behind them"])
def test_a_png_with_megabytes_of_text_is_kept(late: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded(np.ascontiguousarray(np.rot90(PHOTO)), "PNG", pnginfo=text(1_200_000), exif=exif)
    if late:
        start = content.index(b"iTXt") - 4
        end = start + 12 + int.from_bytes(content[start : start + 4], "big")
        content = content[:start] + content[end:-12] + content[start:end] + content[-12:]
    np.testing.assert_array_equal(pixels_of(content), PHOTO)  # and it is upright
    ((kind, detail),) = notes(content)
    assert kind == "have long texts or colour profiles, which were ignored"
    assert detail.endswith(" bytes of them were left out")


def test_long_profiles_and_many_texts_cost_nothing_either() -> None:
    many = PngInfo()
    for number in range(70):
        many.add_text(f"text {number}", "x" * 1_000_000)
    for content in (encoded(PHOTO, "PNG", icc_profile=bytes(2_000_000)), encoded(PHOTO, "PNG", pnginfo=many)):
        np.testing.assert_array_equal(pixels_of(content), PHOTO)
        assert len(notes(content)) == 1
    assert notes(encoded(PHOTO, "PNG", pnginfo=text(1000))) == []


def test_a_bomb_in_a_text_is_not_unpacked() -> None:
    import tracemalloc

    content = encoded(PHOTO, "PNG", pnginfo=text(100_000_000))
    tracemalloc.start()
    np.testing.assert_array_equal(pixels_of(content), PHOTO)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_a_png_with_broken_pixels_and_much_text_stays_broken() -> None:
    content = encoded(PHOTO, "PNG", pnginfo=text(1_200_000))
    with pytest.raises(RejectedError, match="broken"):
        decode(content[:-1000], CANVAS)
