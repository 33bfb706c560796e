"""EXIF data of a photograph are stored within limits, and no EXIF data, however hostile, make a picture unreadable."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image
from sklearn.datasets import load_sample_image

from ssl_pipeline.data.agreement import PixelsChoice
from ssl_pipeline.data.decode import Canvas, decode
from ssl_pipeline.data.exif import Shot
from ssl_pipeline.data.ingest import Shares, ingest
from ssl_pipeline_plugins.sources.folder import Folder
from tests.factories import read_index

CANVAS = Canvas(size=16, resize="squash", background=(255, 255, 255), min_side=8, max_megapixels=1.0)
AS_IS = Canvas(16, "squash", (0, 0, 0), 8, 1.0, PixelsChoice(name="as_is"))
PHOTO: npt.NDArray[np.uint8] = load_sample_image("flower.jpg")[100:140, 300:330]
MAKE, MODEL, ORIENTATION, PHOTO_PART, TAKEN, PLACE = 271, 272, 274, 34665, 36867, 34853
ASCII, SIGNED = 2, 9  # types of EXIF values
CANON = Shot("Canon EOS 80D", "2019-05-03T12:00:00")


def exif(**values: Any) -> Image.Exif:
    block = Image.Exif()
    block[MAKE], block[MODEL] = values.get("make", "Canon"), values.get("model", "Canon EOS 80D")
    block.get_ifd(PHOTO_PART)[TAKEN] = values.get("taken", "2019:05:03 12:00:00")
    block.get_ifd(PLACE)[2] = (52.0, 31.0, 12.0)
    return block


def encoded(form: str = "JPEG", pixels: npt.NDArray[Any] = PHOTO, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize("canvas", [CANVAS, AS_IS], ids=["rgb8", "as_is"])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_camera_and_moment_are_read_beside_the_pixels(form: str, canvas: Canvas):
    content = encoded(form, exif=exif())
    found, bare = decode(content, canvas), decode(encoded(form), canvas)
    assert (found.shot, found.file_bytes) == (CANON, len(content))
    assert (found.digest, found.canvas) == (bare.digest, bare.canvas)
    assert bare.shot == Shot()


def tiff(entries: bytes, pixels: npt.NDArray[np.uint8] = PHOTO, **options: Any) -> bytes:
    """Return a TIFF of a Canon camera with the given EXIF entries in a table at its end."""
    stand_in = PHOTO_PART - 1  # tifffile does not write the EXIF tag

    def written(place: int) -> bytes:
        file = io.BytesIO()
        tags = [(MAKE, "s", 0, "Canon", True), (MODEL, "s", 0, "Canon EOS 80D", True), (stand_in, "I", 1, place, True)]
        tifffile.imwrite(file, pixels, byteorder="<", photometric="rgb", metadata=None, extratags=tags, **options)
        return file.getvalue().replace(struct.pack("<HHI", stand_in, 4, 1), struct.pack("<HHI", PHOTO_PART, 4, 1))

    place = len(written(0))
    return written(place) + struct.pack("<H", len(entries) // 12) + entries + bytes(4)


def moment(pixels: npt.NDArray[np.uint8] = PHOTO, before: bytes = b"", **options: Any) -> bytes:
    """Return a TIFF with its time of capture after other entries; the text of the time lies behind the EXIF table."""
    place = len(tiff(before + bytes(12), pixels, **options))
    entries = before + struct.pack("<HHII", TAKEN, 2, 20, place)
    return tiff(entries, pixels, **options) + b"2019:05:03 12:00:00\0"


@pytest.mark.parametrize("canvas", [CANVAS, AS_IS], ids=["rgb8", "as_is"])
@pytest.mark.parametrize("pages", [1, 2])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_tiff_says_its_camera_and_its_moment(canvas: Canvas, pages: int, compression: str | None):
    pixels = PHOTO if pages == 1 else np.stack([PHOTO] * pages)
    assert decode(moment(pixels, compression=compression), canvas).shot == CANON


def test_no_exif_of_a_tiff_costs_a_picture_or_reads_the_file_again_and_again():
    """One table has 30,000 entries, each the size of half the photograph; the other tables are broken in other ways."""
    many, pair = struct.pack("<HHII", 33000, 7, PHOTO.nbytes // 2, 0) * 30_000, np.stack([PHOTO, PHOTO])
    beyond = struct.pack("<HHII", TAKEN, 2, 2**32 - 1, 2**32 - 1)
    contents = [tiff(entries, pair) for entries in (beyond, beyond[:5], b"")]
    pixels = decode(moment(), CANVAS).canvas
    for content in (*contents, tiff(beyond, compression="zlib"), moment(pair, many)):
        found = decode(content, CANVAS)
        assert (found.canvas, found.shot) == (pixels, CANON._replace(taken=""))


def test_a_tiff_of_many_bands_says_its_camera():
    file = io.BytesIO()
    bands = np.dstack([PHOTO, PHOTO])
    tifffile.imwrite(
        file, bands, photometric="minisblack", planarconfig="contig", extratags=[(MAKE, "s", 0, "Parrot", True)]
    )
    assert decode(file.getvalue(), AS_IS).shot == Shot("Parrot")


def test_an_image_without_a_file_has_no_size():
    assert decode(Image.fromarray(PHOTO), CANVAS).file_bytes == 0


@pytest.mark.parametrize(
    ("values", "shot"),
    [
        ({"make": "NIKON", "model": "D90"}, Shot("NIKON D90", CANON.taken)),
        ({"make": "", "model": "  D90\0\0 "}, Shot("D90", CANON.taken)),
        ({"make": "=HYPERLINK(1)", "model": "a\x1b[31m\r\nb"}, Shot("HYPERLINK(1) a [31m b", CANON.taken)),
        ({"make": "M" * 9000, "model": "N" * 9000}, Shot("M" * 64, CANON.taken)),
        ({"taken": "0000:00:00 00:00:00"}, CANON._replace(taken="")),
        ({"taken": "yesterday"}, CANON._replace(taken="")),
    ],
    ids=["two names", "blanks", "a formula and a terminal", "long", "no moment", "words"],
)
def test_strangers_text_is_bounded(values: dict[str, Any], shot: Shot):
    assert decode(encoded(exif=exif(**values)), CANVAS).shot == shot


def raw(*entries: tuple[int, int, bytes]) -> bytes:
    """Return an EXIF block whose entries have a tag, a type and a value of four bytes each."""
    table = b"".join(
        struct.pack("<HHI", tag, kind, len(value) if kind == ASCII else 1) + value for tag, kind, value in entries
    )
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + table + bytes(4)


@pytest.mark.parametrize(
    ("block", "error", "shot"),
    [
        (b"Exif\0\0XXXX" + bytes(20), SyntaxError, Shot()),
        (b"Exif\0\0II*\0", struct.error, Shot()),
        (b"Exif\0\0II+\0\x08" + bytes(20), struct.error, Shot()),
        (raw((MAKE, ASCII, b"ABC\0"), (PHOTO_PART, SIGNED, struct.pack("<i", -1))), ValueError, Shot("ABC")),
    ],
    ids=["no header", "half a header", "half a header of BigTIFF", "a part that begins before the file"],
)
def test_no_exif_costs_a_picture(block: bytes, error: type[Exception], shot: Shot):
    content = encoded("PNG", exif=block)
    with pytest.raises(error), Image.open(io.BytesIO(content)) as image:
        image.getexif().get_ifd(PHOTO_PART)  # Pillow raises an error for this block
    found = decode(content, CANVAS)
    assert found.shot == shot
    assert found.canvas == decode(encoded("PNG"), CANVAS).canvas


def test_a_long_block_is_not_searched():
    block = exif()
    block[37500] = b"x" * 2**17  # MakerNote
    found = decode(encoded("PNG", exif=block), CANVAS)
    assert found.shot == CANON._replace(taken="")


def test_the_index_has_them_and_no_place(tmp_path: Path):
    root, out = tmp_path / "photos", tmp_path / "out"
    root.mkdir()
    out.mkdir()
    for number in range(12):
        options = {"exif": exif(model=f"EOS {number % 2}")} if number else {}
        (root / f"{number:02}.jpg").write_bytes(encoded(pixels=np.roll(PHOTO, 3 * number, axis=0), **options))
    shares = Shares(seed=0, val_fraction=0.15, test_fraction=0.25, max_reject_fraction=0.5)
    ingest(Folder(path=str(root)).open(), out, CANVAS, shares, tmp_path / "reports", 1)
    rows = sorted(read_index(out / "store"), key=lambda row: row.path)
    assert [row.file_bytes for row in rows] == [path.stat().st_size for path in sorted(root.iterdir())]
    assert [row.camera for row in rows] == ["", *(f"Canon EOS {number % 2}" for number in range(1, 12))]
    assert [row.taken for row in rows] == ["", *[CANON.taken] * 11]
    elsewhere = [path for path in out.rglob("*") if path.is_file() and path.name != "index.csv"]
    assert all(b"Canon" not in path.read_bytes() for path in elsewhere)
