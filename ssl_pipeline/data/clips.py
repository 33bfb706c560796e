"""Clips, which are folders of frames or films: which frames each of them has, and when they are seen."""

import functools
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ssl_pipeline import ranks
from ssl_pipeline.data.chunk import Chunk
from ssl_pipeline.data.film_frames import frame_path, read_frame, split_frame_path
from ssl_pipeline.data.film_sample import FilmSample, sample_film
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.litter import A_FILM, no_image
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.workers import Limits, in_order
from ssl_pipeline.progress import track
from ssl_pipeline.terminal import counted, shown

__all__ = [
    "Frame",
    "about_films",
    "folders_of_frames",
    "frames_of",
    "in_natural_order",
    "is_frame_of_film",
    "look_at_films",
    "read_film",
    "records_of",
]

_LIMITS = Limits(seconds=120.0, seconds_per_byte=0.0, memory=2**30)
"""What it may cost to find out when a film has frames: of one of 40 hours at 25 frames per second, some 20 s."""
_PATIENCE = 1.0  # seconds before there is more than one process
_NUMBER = re.compile(r"([0-9]+)")


class Frame(NamedTuple):
    """A frame of a clip: its path, and its time since the beginning of the clip, s."""

    path: str
    seconds: float


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Sort names as people do: by the numbers in them, and by letters.

    Examples:
        >>> in_natural_order(["f10.jpg", "f9.jpg", "F1.jpg"])
        ['F1.jpg', 'f9.jpg', 'f10.jpg']
    """
    return sorted(names, key=_natural)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    parts = _NUMBER.split(name.casefold())  # every second one is a number, which stays a text: it may be a long one
    parts[1::2] = [number.lstrip("0") for number in parts[1::2]]
    return [(len(part) if place % 2 else 0, part) for place, part in enumerate(parts)], name


def folders_of_frames(names: Iterable[str], unreadable: Collection[str], fps: float) -> dict[str, list[Frame]]:
    """Return the clips that folders are, with their frames in natural order.

    Args:
        names: The paths of the frames.
        unreadable: The paths of frames that cannot be read, whose time passes all the same.
        fps: Frames per second, at which they were taken.

    Returns:
        The path of a folder -> its frames; that of the folder that holds all is ".".
    """
    folders: defaultdict[str, list[str]] = defaultdict(list)
    for name in (*names, *unreadable):
        folders[name.rpartition("/")[0] or "."].append(name)
    return {
        folder: frames
        for folder, inside in sorted(folders.items())
        if (
            frames := [
                Frame(name, place / fps)
                for place, name in enumerate(in_natural_order(inside))
                if name not in unreadable
            ]
        )
    }


def look_at_films(
    root: Path, films: Sequence[str], fps: float, most: int
) -> tuple[dict[str, FilmSample], dict[str, RejectedError]]:
    """Find out when films have frames, in processes that are ended where one takes too long or dies of it.

    Args:
        root: The folder that the paths are relative to.
        films: The paths of the films.
        fps: Frames per second, at most.
        most: Frames of a film, at most.

    Returns:
        Path -> when its frames are seen, and path -> why it cannot be used.
    """
    look = functools.partial(_look, root, fps, most)
    chunks = (Chunk([film], _itself, look) for film in films)
    found: dict[str, FilmSample] = {}
    rejects: dict[str, RejectedError] = {}
    outcomes = in_order(chunks, ranks.own_cores(), _LIMITS, _PATIENCE)
    for film, outcome in zip(films, track(outcomes, "looking at films", total=len(films)), strict=True):
        if isinstance(outcome, RejectedError):
            rejects[film] = outcome
        else:
            found[film] = outcome
    return found, rejects


def _look(root: Path, fps: float, most: int, film: str) -> FilmSample:
    return sample_film(root / film, fps, most)


def _itself(film: str) -> str:
    return film


def frames_of(film: str, seen: FilmSample) -> list[Frame]:
    """Return the frames of a film."""
    return [Frame(frame_path(film, seconds), seconds) for seconds in seen.seconds]


def read_film(root: Path, in_order: Collection[str], path: str, limit: int) -> Image.Image:
    """Read a frame of a film, by its path; see `read_frame`.

    Args:
        root: The folder that paths are relative to.
        in_order: The films that can only be read from their beginning.
        path: The path of the frame.
        limit: The most bytes that its pixels may have.

    Raises:
        RejectedError: It cannot be read.
    """
    return read_frame(root, path, limit, path.rpartition("#")[0] in in_order)


def is_frame_of_film(path: str) -> bool:
    """Say whether a path is that of a frame of a film, and not that of a file.

    Examples:
        >>> is_frame_of_film("a.mp4#t=1.000"), is_frame_of_film("a.jpg#t=1.000")
        (True, False)
    """
    named = split_frame_path(path)
    return named is not None and no_image(named[0]) == A_FILM


def records_of(clip: Record, frames: Iterable[Frame]) -> Iterator[Record]:
    """Yield what is said of the frames of a clip: what is said of the clip, which is their group."""
    for path, seconds in frames:
        yield clip._replace(path=path, group=clip.path, seconds=seconds)


def about_films(seen: Mapping[str, FilmSample]) -> list[str]:
    """Say what a person should know of the films that are used, one sentence each."""
    warnings = []
    short = {film: one for film, one in seen.items() if one.missing}
    if short:
        film, one = next(iter(short.items()))
        warnings.append(
            f"{counted(len(short), 'film ends', 'films end')} well before the length that the header states, such as "
            f"{shown(film, 100)} (frames up to {one.seconds[-1]:.1f} s of {one.missing:.1f} s): what is there is kept."
        )
    far = [film for film, one in seen.items() if one.far]
    if far:
        warnings.append(
            f"{counted(len(far), 'film has', 'films have')} so few keyframes that later frames take too long to reach, "
            f"such as {shown(far[0], 100)}: its frames up to {seen[far[0]].seconds[-1]:.1f} s are kept. Encode it "
            "again with a keyframe every few seconds for the others."
        )
    return warnings
