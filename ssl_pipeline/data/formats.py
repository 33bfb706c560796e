"""Open image files of the formats on a list, and report what a file is that cannot be opened.

Pillow also supports formats that run a program (EPS starts Ghostscript, and so does an EPS inside an IPTC file) or that
pass the file to a handler which another library has registered (WMF, BUFR, GRIB, HDF5). None of these is on the list.
"""

import io
import struct

from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ssl_pipeline.data.remarks import Note, RejectedError

__all__ = ["HEIF_EXTRA", "NUMPY_HEAD", "TIFF_HEADS", "further_parts", "open_image"]

FORMATS = (
    *("JPEG", "PNG", "GIF", "BMP", "PPM"),  # Pillow imports these first, and the others only if none of these fits
    *("AVIF", "BLP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "ICNS", "ICO", "IM", "IMT", "JPEG2000"),
    *("MCIDAS", "MSP", "PCD", "PCX", "PIXAR", "PSD", "QOI", "SGI", "SPIDER", "SUN", "TGA", "TIFF", "WEBP", "XBM"),
    *("XPM", "XVTHUMB"),
)
"""Formats that Pillow decodes by itself, in the order in which they are tried."""

HEIF_EXTRA = "reading HEIC requires pillow-heif: pip install 'ssl-pipeline[heif]'"

_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
NUMPY_HEAD = b"\x93NUMPY"
TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_POSTSCRIPT_HEADS = (b"%!PS", b"\xc5\xd0\xd3\xc6")

MAX_PAGES = 1000
"""Largest number of TIFF pages that are counted, because Pillow reads the directory of each page in full."""

_REDUCED, _SAMPLES, _BITS, _SAMPLE_FORMAT, _WIDTH = 254, 277, 258, 339, 256  # tags of a TIFF


def open_image(content: bytes) -> Image.Image:
    """Open an image by its header, without decoding its pixels.

    Raises:
        RejectedError: The file has none of the formats on the list.
    """
    if _is_heif(content):
        return _open_heif(content)
    try:
        return Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError as error:
        if content.startswith(_POSTSCRIPT_HEADS):
            raise RejectedError("not an image", "PostScript is executable code; convert it to PNG") from error
        values = _tiff_values(content) if content.startswith(TIFF_HEADS) else None
        if values:
            raise RejectedError(
                "not supported",
                f"a TIFF with {values}; only 1 to 4 bands of 8- or 16-bit integers or 1 band of 32-bit floats can be "
                "read; ingest.pixels: as_is reads others",
            ) from error
        if content.startswith(NUMPY_HEAD):
            raise RejectedError("not supported", "a NumPy array; ingest.pixels: as_is reads it") from error
        raise RejectedError("not an image", "its format cannot be read, or its header is damaged") from error


def further_parts(content: bytes, image: Image.Image) -> list[Note]:
    """Return notes on parts of an opened file that will not be read: further pages, frames or bands."""
    notes = []
    if image.format in ("AVIF", "GIF", "PNG", "TIFF", "WEBP"):  # MPO's second picture is another view of the first
        name = "page" if image.format == "TIFF" else "frame"
        pages = _count_pages(content, image.format)
        if pages > 1:
            further = f"at least {MAX_PAGES:,}" if pages > MAX_PAGES else f"{pages - 1:,}"
            notes.append(Note(f"have further {name}s, which were ignored", f"{further} beside the first"))
    if image.format == "TIFF":
        bands, used = _tiff_tags(content).get(_SAMPLES, 1), len(image.getbands())
        if bands > used:
            notes.append(Note("have further bands, which were ignored", f"{bands - used} beside the first {used}"))
    return notes


def _is_heif(content: bytes) -> bool:
    if content[4:8] != b"ftyp":
        return False
    box = content[8 : min(int.from_bytes(content[:4], "big"), 256)]  # brand, version, compatible brands
    brands = {box[start : start + 4] for start in range(0, len(box), 4) if start != 4}
    return bool(brands & _HEIF_BRANDS) and not brands & _AVIF_BRANDS


def _open_heif(content: bytes) -> Image.Image:
    try:
        import pillow_heif
    except ImportError as error:
        raise RejectedError("not supported", HEIF_EXTRA) from error
    pillow_heif.register_heif_opener()
    try:
        return Image.open(io.BytesIO(content), formats=("HEIF",))
    except UnidentifiedImageError as error:
        raise RejectedError("broken", "a HEIC file with a damaged header or index") from error


def _count_pages(content: bytes, form: str) -> int:
    """Return the number of pages or frames, up to `MAX_PAGES` + 1, without the reduced copies of a TIFF's pages."""
    pages = 1
    try:
        with Image.open(io.BytesIO(content), formats=(form,)) as image:
            if form != "TIFF":
                return int(getattr(image, "n_frames", 1))
            for place in range(1, MAX_PAGES + 1):
                image.seek(place)
                pages += not image.tag_v2.get(_REDUCED, 0) & 1  # type: ignore[attr-defined]
    except (EOFError, OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error):
        pass  # the last page was reached, or a later page is damaged
    return pages


def _tiff_tags(content: bytes) -> ImageFileDirectory_v2:
    """Return the tags of a TIFF's first page."""
    tags = ImageFileDirectory_v2(content[: 16 if content[2] == 43 else 8])
    file = io.BytesIO(content)
    file.seek(tags.next)
    tags.load(file)
    return tags


def _tiff_values(content: bytes) -> str | None:
    """Describe the values of a TIFF in words; return None if its tags cannot be read."""
    tags = _tiff_tags(content)
    if _WIDTH not in tags:
        return None
    bits, bands = tags.get(_BITS, (1,))[0], tags.get(_SAMPLES, 1)
    kinds = {1: "unsigned integers", 2: "signed integers", 3: "floats", 5: "complex integers", 6: "complex floats"}
    kind = kinds.get(tags.get(_SAMPLE_FORMAT, (1,))[0], "values of an unknown kind")
    return f"{bands} {'band' if bands == 1 else 'bands'} of {bits}-bit {kind}"
