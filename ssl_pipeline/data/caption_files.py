"""Read captions from text files: a .txt beside an image, with the same name up to the suffix, and one caption per line.

Not every such file contains captions. Data sets for object detection store bounding boxes there, and others a class
index. Such files are left alone, because pretraining must not see labels.
"""

import os.path
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.listing import Listing, Reader
from ssl_pipeline.data.litter import NOT_BY_NAME
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import counted, shown

__all__ = ["CaptionFiles", "add_captions", "find_texts", "lines_of", "read_texts"]

_TEXT_BYTES = 2**20
_MIN_NUMBERS = 4  # fewest numbers in a line that describes a bounding box
_SHOWN_FAULTS = 5
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


class CaptionFiles(NamedTuple):
    """Captions found in text files.

    Attributes:
        captions: Captions of each image, by the name of the image.
        used: Names of the text files that contain captions.
        others: Reason why each other text file was not read as captions, by the name of the file.
    """

    captions: dict[str, tuple[str, ...]]
    used: set[str]
    others: dict[str, str]


def find_texts(listing: Listing) -> dict[str, list[str]]:
    """Return the text files that lie beside images, each with the names of its images."""
    images: dict[str, list[str]] = {}
    for name in listing.names:
        images.setdefault(os.path.splitext(name)[0], []).append(name)
    texts = {}
    for name, reason in listing.ignored.items():
        stem, suffix = os.path.splitext(name)
        if suffix.lower() == ".txt" and reason == NOT_BY_NAME and stem in images:
            texts[name] = images[stem]
    return texts


def read_texts(texts: Mapping[str, Sequence[str]], read: Reader, path: str) -> CaptionFiles:
    """Read the captions in text files.

    Args:
        texts: Names of the images beside each text file, by the name of the file.
        read: Function that reads a file, given its name and a limit in bytes.
        path: Path of the source, for messages.

    Raises:
        PipelineError: At least half of the files are not UTF-8; the message names files and lines.
    """
    captions: dict[str, tuple[str, ...]] = {}
    others: dict[str, str] = {}
    used, empty, faults = set[str](), set[str](), []
    for name, images in texts.items():
        try:
            content = read(name, _TEXT_BYTES)
            assert isinstance(content, bytes)
            lines = lines_of(content)
        except RejectedError as reason:
            others[name] = f"captions that cannot be read: {reason}"
            continue
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            faults.append(f"{shown(name, 200)}, line {line}")
            others[name] = f"not UTF-8 (line {line}): not read as captions"
            continue
        if _are_boxes(lines):
            others[name] = "each line contains numbers, such as bounding boxes: not read as captions"
            continue
        (used if any(lines) else empty).add(name)
        captions |= {image: captions.get(image, ()) + lines for image in images}
    if used and not any(_has_words(line) for mine in captions.values() for line in mine):
        others |= dict.fromkeys(used, "only numbers, such as class indices: not read as captions")
        used.clear()
    if faults and 2 * len(faults) >= len(texts):  # a smaller share are probably notes that happen to lie there
        more = f" and {len(faults) - _SHOWN_FAULTS:,} more" if faults[_SHOWN_FAULTS:] else ""
        raise PipelineError(
            f"{shown(path, 200)}: {counted(len(faults), 'text beside an image is', 'texts beside images are')} not "
            f"UTF-8: {'; '.join(faults[:_SHOWN_FAULTS])}{more}. Save the captions as UTF-8, or set "
            "ingest.source.captions: false to ignore them."
        )
    if not used:  # an empty file means "no caption" only if other files have captions
        return CaptionFiles({}, set(), others)
    return CaptionFiles(captions, used | empty, others)


def add_captions(records: Iterable[Record], captions: Mapping[str, tuple[str, ...]]) -> list[Record]:
    """Return the records, adding captions to those whose path has some."""
    return [
        record._replace(captions=captions[record.path]) if record.path in captions else record for record in records
    ]


def lines_of(content: bytes) -> tuple[str, ...]:
    """Return the non-empty lines of a text, byte for byte without their line endings; one empty line if all are empty.

    Raises:
        UnicodeDecodeError: The text is not UTF-8.
    """
    lines = (line.removesuffix("\r") for line in content.decode("utf-8-sig").split("\n"))
    return tuple(line for line in lines if line) or ("",)


def _has_words(line: str) -> bool:
    """Return whether a line contains a word that is not a number."""
    return not all(_NUMBER.fullmatch(word) for word in line.replace(",", " ").split())


def _are_boxes(lines: Sequence[str]) -> bool:
    """Return whether each line has more numbers than words, and enough numbers for a box (YOLO, KITTI, ICDAR)."""
    for line in lines:
        words = line.replace(",", " ").split()
        numbers = sum(_NUMBER.fullmatch(word) is not None for word in words)
        if numbers < _MIN_NUMBERS or 2 * numbers <= len(words):
            return False
    return True
