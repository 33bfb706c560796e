"""Clips, each a folder of frames or a film: their frames, and the times at which these are shown."""

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
"""Limits for finding the times of a film's frames, which takes some 20 s for 40 hours at 25 frames per second."""
_PATIENCE = 1.0  # seconds before a second process starts
_NUMBER = re.compile(r"([0-9]+)")


class Frame(NamedTuple):
    """A frame of a clip.

    Attributes:
        path: Path of the frame.
        seconds: Time since the beginning of the clip, s.
    """

    path: str
    seconds: float


def in_natural_order(names: Iterable[str]) -> list[str]:
    """Sort names in natural order: numbers by value, letters without regard to case.

    Examples:
        >>> in_natural_order(["f10.jpg", "f9.jpg", "F1.jpg"])
        ['F1.jpg', 'f9.jpg', 'f10.jpg']
    """
    return sorted(names, key=_natural)


def _natural(name: str) -> tuple[list[tuple[int, str]], str]:
    # Every second part is a number. It stays text, because it may be too long to convert.
    parts = _NUMBER.split(name.casefold())
    parts[1::2] = [number.lstrip("0") for number in parts[1::2]]
    return [(len(part) if place % 2 else 0, part) for place, part in enumerate(parts)], name


def folders_of_frames(names: Iterable[str], unreadable: Collection[str], fps: float) -> dict[str, list[Frame]]:
    """Take each folder for a clip, and return its frames in natural order.

    Args:
        names: Paths of the readable frames.
        unreadable: Paths of frames that cannot be read; they are left out, but still take up their time.
        fps: Frame rate at which the frames were taken, in frames per second.

    Returns:
        The frames of each folder, by the path of the folder; the root folder is ".".
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
    """Choose the frames of films, in separate processes, so that a film which hangs or crashes one is only rejected.

    Args:
        root: Folder that the paths are relative to.
        films: Paths of the films.
        fps: Largest number of frames per second.
        most: Largest number of frames per film.

    Returns:
        The sample of each usable film, and the reason why each other film is rejected, by path.
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
    """Return the frames that were chosen from a film."""
    return [Frame(frame_path(film, seconds), seconds) for seconds in seen.seconds]


def read_film(root: Path, in_order: Collection[str], path: str, limit: int) -> Image.Image:
    """Read a frame of a film by its path; see `read_frame`.

    Args:
        root: Folder that the paths are relative to.
        in_order: Paths of films that can only be read from their beginning.
        path: Path of the frame.
        limit: Largest size of its pixels, in bytes.

    Raises:
        RejectedError: The frame cannot be read.
    """
    return read_frame(root, path, limit, path.rpartition("#")[0] in in_order)


def is_frame_of_film(path: str) -> bool:
    """Return whether a path names a frame of a film, rather than a file.

    Examples:
        >>> is_frame_of_film("a.mp4#t=1.000"), is_frame_of_film("a.jpg#t=1.000")
        (True, False)
    """
    named = split_frame_path(path)
    return named is not None and no_image(named[0]) == A_FILM


def records_of(clip: Record, frames: Iterable[Frame]) -> Iterator[Record]:
    """Yield a record for each frame of a clip, with the label and split of the clip, and the clip as group."""
    for path, seconds in frames:
        yield clip._replace(path=path, group=clip.path, seconds=seconds)


def about_films(seen: Mapping[str, FilmSample]) -> list[str]:
    """Return warnings about films that are used, one per kind of trouble."""
    warnings = []
    short = {film: one for film, one in seen.items() if one.missing}
    if short:
        film, one = next(iter(short.items()))
        warnings.append(
            f"{counted(len(short), 'film ends', 'films end')} well before the length that the header states, such as "
            f"{shown(film, 100)} (frames up to {one.seconds[-1]:.1f} s of {one.missing:.1f} s): the frames that exist "
            "are used."
        )
    far = [film for film, one in seen.items() if one.far]
    if far:
        warnings.append(
            f"{counted(len(far), 'film has', 'films have')} so few keyframes that later frames take too long to reach, "
            f"such as {shown(far[0], 100)}: only its frames up to {seen[far[0]].seconds[-1]:.1f} s are used. To use "
            "all frames, re-encode it with a keyframe every few seconds."
        )
    return warnings
