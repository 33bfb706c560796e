"""Drop captions without content, and report dropped captions and those that several images share.

A caption is either kept byte for byte or dropped.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.splits import Content
from ssl_pipeline.data.store import SPLITS, SplitName
from ssl_pipeline.terminal import counted, shown

__all__ = ["CaptionLine", "Sifted", "count_captions", "list_captions", "sift", "warn"]

_SHOWN_LETTERS = 200  # most characters of a caption that a list shows
_UNSEEN = ("Cc", "Cf")
"""Unicode categories of control and format characters: a caption of nothing else contains no text."""

Figures = dict[str, Any]


class CaptionLine(NamedTuple):
    """A line of captions.csv: a caption that was dropped or that several images share.

    Attributes:
        path: Path of the image; of a shared caption, the first path in alphabetical order.
        caption: Text of the caption.
        note: Reason why it was dropped, or the number of images that share it.
    """

    path: str
    caption: str
    note: str


class Sifted(NamedTuple):
    """Result of `sift`.

    Attributes:
        records: Records with the captions that are kept.
        dropped: Lines of the captions that are not kept, each with the reason.
    """

    records: list[Record]
    dropped: list[CaptionLine]


def sift(records: Sequence[Record]) -> Sifted:
    """Drop captions that are empty, are not valid text, or repeat another caption of the same image."""
    kept, dropped = [], []
    for record in records:
        mine: dict[str, None] = {}
        for caption in record.captions:
            reason = "repeated for its image" if caption in mine else _trouble(caption)
            if reason:
                dropped.append(CaptionLine(record.path, caption, reason))
            else:
                mine[caption] = None
        kept.append(record._replace(captions=tuple(mine)) if record.captions else record)
    return Sifted(kept, dropped)


def _trouble(caption: str) -> str | None:
    """Return why a caption is dropped; None if it is kept."""
    if "\0" in caption:
        return "a zero character, as in text that is not UTF-8"
    if all(letter.isspace() or unicodedata.category(letter) in _UNSEEN for letter in caption):
        return "empty"
    if any("\ud800" <= letter <= "\udfff" for letter in caption):
        return "half of a surrogate pair, which UTF-8 cannot hold"
    return None


def count_captions(contents: Sequence[Content], sides: Sequence[SplitName], dropped: Sequence[CaptionLine]) -> Figures:
    """Return the caption counts for the manifest; empty if there are no captions and none were dropped."""
    if not dropped and not any(content.captions for content in contents):
        return {}
    places: dict[str, Figures] = {split: {"images": 0, "captions": 0} for split in SPLITS}
    for content, side in zip(contents, sides, strict=True):
        places[side]["images"] += bool(content.captions)
        places[side]["captions"] += len(content.captions)
    times = _times(contents)
    return {
        "images": sum(place["images"] for place in places.values()),
        "captions": times.total(),
        "different": len(times),
        "longest": max(map(len, times), default=0),
        "dropped": dict(sorted(Counter(line.note for line in dropped).items())),
        "splits": places,
    }


def list_captions(contents: Sequence[Content], dropped: Sequence[CaptionLine]) -> list[CaptionLine]:
    """Return the lines of captions.csv: dropped captions, then captions that several images share, most frequent first.

    Captions are escaped and shortened as for a terminal, because the list is meant for people.
    """
    times = _times(contents)
    first: dict[str, str] = {}
    for content in contents:
        for caption in content.captions:
            if times[caption] > 1:
                first[caption] = min(content.record.path, first.get(caption, content.record.path))
    repeated = sorted(first, key=lambda caption: (-times[caption], caption))
    lines = [CaptionLine(line.path, line.caption, f"left out: {line.note}") for line in sorted(dropped)]
    lines += [CaptionLine(first[caption], caption, f"of {times[caption]:,} images") for caption in repeated]
    return [line._replace(caption=shown(line.caption, _SHOWN_LETTERS)) for line in lines]


def warn(figures: Figures, images: int) -> list[str]:
    """Summarise the captions, in one or two sentences per remark.

    Args:
        figures: Counts from `count_captions`.
        images: Number of images in the store.
    """
    if not figures:
        return []
    warnings = []
    if figures["captions"]:
        which = "all" if figures["images"] == images else f"{figures['images']:,} of"
        line = f"{which} {counted(images, 'image')} have {counted(figures['captions'], 'caption')}"
        repeated = figures["different"] < figures["captions"]
        more = f", {figures['different']:,} of them different: see data/ingested/captions.csv" if repeated else ""
        warnings.append(f"{line[0].upper()}{line[1:]}{more}.")
    if figures["dropped"]:
        total = sum(figures["dropped"].values())
        named = ", ".join(f"{number:,} {reason}" for reason, number in figures["dropped"].items())
        which = counted(total, "caption is", "captions are")
        warnings.append(f"{which} left out ({named}): see data/ingested/captions.csv.")
    return warnings


def _times(contents: Sequence[Content]) -> Counter[str]:
    """Return the number of images that have each caption."""
    return Counter(caption for content in contents for caption in content.captions)
