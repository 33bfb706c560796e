"""Recognise clips among files: films, or folders whose images are consecutive frames."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.clips import in_natural_order
from ssl_pipeline.data.decode import Canvas, Decoded
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.listing import Listing, list_images
from ssl_pipeline.data.litter import A_FILM, AN_ARCHIVE
from ssl_pipeline.data.parallel import decode_all
from ssl_pipeline.data.source import Images

__all__ = ["are_shards", "kind_of_clips"]

_FRAMES = 5
"""Number of images in a folder from which they may be frames."""
_COUNTING = 0.8
"""Share of the folders whose file names must differ only in a number that counts up; also the share of equal steps."""
_TRIED = 24
"""Maximum number of folders to examine."""
_SIDE = 16
_CANVAS = Canvas(_SIDE, "squash", (128, 128, 128), 1, 100)
_ALIKE = 0.6
"""Largest difference between neighbours, as a share of the difference between images of two folders."""
_APART = 0.9
"""Largest difference between neighbours, as a share of the difference between the first and last image of a folder."""
_NUMBERS = re.compile(r"[0-9]+")


def are_shards(place: Path) -> bool:
    """Return whether a path is a .tar file, or a directory that contains .tar files and no images.

    Raises:
        ConfigError: The path does not exist or cannot be read.
    """
    if place.suffix == ".tar" and place.is_file():
        return True
    listing = list_images(place)
    archives = [name for name, reason in listing.ignored.items() if reason == AN_ARCHIVE]
    return place.is_dir() and not listing.names and any(name.endswith(".tar") for name in archives)


def kind_of_clips(place: Path) -> Literal["films", "frames"] | None:
    """Return whether a directory or a .zip contains films or folders of frames; None if neither.

    Frames are distinguished from photographs by their names, which count up, and by a few pairs of neighbours. These
    must look more alike than images of two folders, and than the first and the last image of their folder.

    Args:
        place: Path of the directory or the .zip.

    Raises:
        ConfigError: The path does not exist or cannot be read.
    """
    listing = list_images(place)
    films = sum(reason == A_FILM for reason in listing.ignored.values())
    if films > len(listing.names) and place.is_dir():
        return "films"
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for name in listing.names:
        folders[name.rpartition("/")[0]].append(name)
    clips = [in_natural_order(names) for names in folders.values()]
    counting = [names for names in clips if len(names) >= _FRAMES and _count_up(names)]
    if len(counting) < 2 or len(counting) < _COUNTING * len(clips):
        return None
    chosen = [counting[place] for place in np.linspace(0, len(counting) - 1, min(len(counting), _TRIED)).astype(int)]
    return "frames" if _neighbours_are_alike(listing, chosen) else None


def _count_up(names: Sequence[str]) -> bool:
    """Return whether file names differ only in one number, which grows by the same step in most cases."""
    if len({_NUMBERS.sub("0", name.rpartition("/")[2]) for name in names}) > 1:
        return False
    numbers = np.array([_NUMBERS.findall(name.rpartition("/")[2]) for name in names])
    changing = [place for place in range(numbers.shape[1]) if len(set(numbers[:, place])) > 1]
    if len(changing) != 1:
        return False
    steps = np.diff([int(number) for number in numbers[:, changing[0]]])
    return bool((steps == np.median(steps)).mean() >= _COUNTING)


def _neighbours_are_alike(listing: Listing, folders: Sequence[Sequence[str]]) -> bool:
    picked = [(names[0], names[len(names) // 2], names[len(names) // 2 + 1], names[-1]) for names in folders]
    records = [Record(name) for names in picked for name in names]
    decoded = list(decode_all(Images(records, listing.read), _CANVAS))
    canvases = np.array(
        [
            np.frombuffer(one.canvas, np.uint8) if isinstance(one, Decoded) else np.zeros(3 * _SIDE**2, np.uint8)
            for one in decoded
        ]
    ).reshape(len(picked), 4, -1)
    known = np.array([isinstance(one, Decoded) for one in decoded]).reshape(len(picked), 4).all(axis=1)
    first, middle, following, last = np.moveaxis(canvases[known].astype(np.float32), 1, 0)
    if len(first) < 2:
        return False
    neighbours = _difference(middle, following)
    return neighbours < _ALIKE * _difference(middle, np.roll(middle, 1, axis=0)) and neighbours < _APART * _difference(
        first, last
    )


def _difference(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Return the median, over pairs of images, of their mean absolute difference in grey levels."""
    return float(np.median(np.abs(one - other).mean(axis=1)))
