"""Which captions are kept, and what a person should know of them: those that say nothing, and those of many images.

A caption is kept as it is, byte for byte, or not at all.
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

_SHOWN_LETTERS = 200  # of a caption in a list
_UNSEEN = ("Cc", "Cf")
"""Categories of characters that control what is around them: alone, they are no text."""

Figures = dict[str, Any]


class CaptionLine(NamedTuple):
    """A line of captions.csv: a caption that is left out, or one that several images have; the first of them."""

    path: str
    caption: str
    note: str


class Sifted(NamedTuple):
    """Records with the captions that are kept, and for each other caption its path, itself and the reason."""

    records: list[Record]
    dropped: list[CaptionLine]


def sift(records: Sequence[Record]) -> Sifted:
    """Leave out captions that say nothing, that are no text, or that an image has already."""
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
    """Say why a caption is not kept."""
    if "\0" in caption:
        return "a zero character, as in text that is not UTF-8"
    if all(letter.isspace() or unicodedata.category(letter) in _UNSEEN for letter in caption):
        return "empty"
    if any("\ud800" <= letter <= "\udfff" for letter in caption):
        return "half of a surrogate pair, which UTF-8 cannot hold"
    return None


def count_captions(contents: Sequence[Content], sides: Sequence[SplitName], dropped: Sequence[CaptionLine]) -> Figures:
    """Return the numbers of captions, for the manifest; nothing where there are none, and none were dropped."""
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
    """Return the lines of captions.csv: what was left out, and then what several images have, the most frequent first.

    Captions are written as a terminal shows them, as people read the list.
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
    """Say what captions there are, one sentence or two each.

    Args:
        figures: What `count_captions` returns.
        images: The number of images in the store.
    """
    if not figures:
        return []
    warnings = []
    if figures["captions"]:
        which = "all" if figures["images"] == images else f"{figures['images']:,} of"
        line = f"{which} {counted(images, 'image')} have {counted(figures['captions'], 'caption')}"
        repeated = figures["different"] < figures["captions"]
        more = f", {figures['different']:,} of them different: see captions.csv" if repeated else ""
        warnings.append(f"{line[0].upper()}{line[1:]}{more}.")
    if figures["dropped"]:
        total = sum(figures["dropped"].values())
        named = ", ".join(f"{number:,} {reason}" for reason, number in figures["dropped"].items())
        warnings.append(f"{counted(total, 'caption is', 'captions are')} left out ({named}): see captions.csv.")
    return warnings


def _times(contents: Sequence[Content]) -> Counter[str]:
    """Return how many images have each caption."""
    return Counter(caption for content in contents for caption in content.captions)
