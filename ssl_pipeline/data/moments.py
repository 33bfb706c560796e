"""Moments of the stored images that are frames of clips: the clip of each, and its time in the clip.

`store/<split>/moments.npz` holds two arrays (n,) in the order of the rows, `clips` and `seconds`. A split without
frames has no such file.
"""

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import record, verified
from ssl_pipeline.remedies import remake

__all__ = ["Moment", "Moments", "read_moments", "write_moments"]

_NAME = "moments.npz"


class Moment(NamedTuple):
    """Position of a frame in time: the name of its clip, and the time since the beginning of the clip, s."""

    clip: str
    seconds: float


class Moments(NamedTuple):
    """Positions of the images of a split in time.

    Attributes:
        clips: Clip numbers, (n,) int64, from 0 in the order of their first rows; -1 for an image that is not a frame.
        seconds: Times since the beginning of the clip, s, (n,) float64; NaN for an image that is not a frame.

    Examples:
        >>> Moments.of([Moment("film", 0.0), None, Moment("film", 0.5)]).clips.tolist()
        [0, -1, 0]
    """

    clips: npt.NDArray[np.int64]
    seconds: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rows: Iterable[Moment | None]) -> "Moments":
        """Build the object from the moment of each image, which is None for an image that is not a frame."""
        named: dict[str, int] = {}
        found = [(named.setdefault(row.clip, len(named)), row.seconds) if row else (-1, np.nan) for row in rows]
        return cls(np.array([clip for clip, _ in found], np.int64), np.array([time for _, time in found], np.float64))


def write_moments(folder: Path, moments: Moments) -> None:
    """Write the moments of a split."""
    np.savez(folder / _NAME, clips=moments.clips, seconds=moments.seconds)
    record(folder / _NAME)


def read_moments(folder: Path) -> Moments:
    """Read the moments of a split that contains frames.

    Raises:
        PipelineError: The file of moments is missing or damaged.
    """
    path = folder / _NAME
    try:
        with verified(path, "ingest").open("rb") as opened, np.load(opened) as file:
            return Moments(file["clips"], file["seconds"])
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise PipelineError(f"{path} is damaged ({error}): {remake('ingest')}.") from error
