"""Captions in text files: a .txt beside an image, of the same name but for the suffix, with a caption in each line.

Not every such text is one. Object detectors keep boxes there, as numbers, and others the number of a class: those are
left alone, as pretraining must see no label.
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
_MIN_NUMBERS = 4  # in a line of a box
_SHOWN_FAULTS = 5
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


class CaptionFiles(NamedTuple):
    """What texts say.

    Attributes:
        captions: Name of an image -> its captions.
        used: Names of the texts that have captions.
        others: Name of another text -> why it is taken for no captions.
    """

    captions: dict[str, tuple[str, ...]]
    used: set[str]
    others: dict[str, str]


def find_texts(listing: Listing) -> dict[str, list[str]]:
    """Return the texts that lie beside images, and the images of each, by their names."""
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
    """Read the captions in texts.

    Args:
        texts: Name of a text -> the images beside it.
        read: The function that reads one.
        path: The path of the source, for messages.

    Raises:
        PipelineError: At least half of them are not UTF-8; the message names file and line.
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
            others[name] = f"not UTF-8 (line {line}): not captions"
            continue
        if _are_boxes(lines):
            others[name] = "each line contains numbers, such as bounding boxes: not captions"
            continue
        (used if any(lines) else empty).add(name)
        captions |= {image: captions.get(image, ()) + lines for image in images}
    if used and not any(_has_words(line) for mine in captions.values() for line in mine):
        others |= dict.fromkeys(used, "only numbers, such as class indices: not captions")
        used.clear()
    if faults and 2 * len(faults) >= len(texts):  # fewer are notes that happen to lie there
        more = f" and {len(faults) - _SHOWN_FAULTS:,} more" if faults[_SHOWN_FAULTS:] else ""
        raise PipelineError(
            f"{shown(path, 200)}: {counted(len(faults), 'text beside an image is', 'texts beside images are')} not "
            f"UTF-8: {'; '.join(faults[:_SHOWN_FAULTS])}{more}. Save captions as UTF-8, or leave all of them out: "
            "ingest.source.captions: false."
        )
    if not used:  # an empty text says that an image has no caption only where others have some
        return CaptionFiles({}, set(), others)
    return CaptionFiles(captions, used | empty, others)


def add_captions(records: Iterable[Record], captions: Mapping[str, tuple[str, ...]]) -> list[Record]:
    """Return records with the captions of their paths, where there are some."""
    return [
        record._replace(captions=captions[record.path]) if record.path in captions else record for record in records
    ]


def lines_of(content: bytes) -> tuple[str, ...]:
    """Return the lines of a text that are not empty, byte for byte but for what ends them; of an empty text, one.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
    """
    lines = (line.removesuffix("\r") for line in content.decode("utf-8-sig").split("\n"))
    return tuple(line for line in lines if line) or ("",)


def _has_words(line: str) -> bool:
    """Say whether a line is more than numbers and white space."""
    return not all(_NUMBER.fullmatch(word) for word in line.replace(",", " ").split())


def _are_boxes(lines: Sequence[str]) -> bool:
    """Say whether each line has more numbers than words, and enough of them for a box: YOLO, KITTI, ICDAR."""
    for line in lines:
        words = line.replace(",", " ").split()
        numbers = sum(_NUMBER.fullmatch(word) is not None for word in words)
        if numbers < _MIN_NUMBERS or 2 * numbers <= len(words):
            return False
    return True
