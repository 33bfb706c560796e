"""Frames of clips: of folders of frames in order, and of films. `ssl_pipeline.data.layout` describes their labels."""

from collections.abc import Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ssl_pipeline import hookimpl
from ssl_pipeline.data.clips import (
    Frame,
    about_films,
    folders_of_frames,
    frames_of,
    is_frame_of_film,
    look_at_films,
    read_film,
    records_of,
)
from ssl_pipeline.data.film import require_reader
from ssl_pipeline.data.film_sample import FilmSample
from ssl_pipeline.data.label_tables import digest_of, find_table
from ssl_pipeline.data.layout import TABLE, Record, Table, read_layout
from ssl_pipeline.data.listing import Listing, Reader, list_images
from ssl_pipeline.data.litter import A_FILM
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import PATH, Images, Pile, Source, find_source
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.terminal import counted, shown

if TYPE_CHECKING:
    from PIL import Image

    from ssl_pipeline.types import Register  # imports torch


class Clips(Source):
    """Frames of clips, from folders of frames in order and from films. Each clip is a group, and has one label.

    Args:
        path: Path of a directory, or of a .zip of frames, relative to the folder of params.yaml.
        fps: Frames per second, in (0, 1000]: the rate at which films are sampled and frames in folders were taken.
        max_frames: Largest number of frames of a clip, at least 1; only its first frames are used.
        labels: Path of a table of labels that is not stored beside the clips: a CSV in the format of labels.csv, with
            one line per clip. None: labels.csv beside the clips, if there is one.
    """

    def __init__(self, *, path: str, fps: float = 1.0, max_frames: int = 600, labels: str | None = None):
        if not 0 < fps <= 1000:
            raise ValueError(f"fps must be above 0 and at most 1000, got {fps}")
        if max_frames < 1:
            raise ValueError(f"max_frames must be at least 1, got {max_frames}")
        self.path, self.fps, self.max_frames, self.labels = path, fps, max_frames, labels

    def open(self) -> Images:
        """List the frames in folders, sample the times of the films' frames, and read the table of labels."""
        place = find_source(self.path)
        pile = _list_pile(place)
        clips, seen, rejects = self._clips(place, pile)
        every = sorted({*clips, *pile.films})  # a table may name a film that cannot be used
        root, table, name = find_table(every, pile.tables, pile.listing.read, self.path, self.labels)
        _refuse_groups(table)
        records: list[Record] = []
        for clip in read_layout(every, root, table, pile.listing.ignored.__contains__, "clip"):
            records += records_of(clip, clips.get(clip.path, [])[: self.max_frames])
        more = [clip for clip, frames in clips.items() if len(frames) > self.max_frames]
        more += [film for film, one in seen.items() if one.more]
        return Images(
            records,
            partial(_read, pile.listing.read, place, frozenset(film for film, one in seen.items() if one.in_order)),
            pile.ignored | ({name: "the table of labels"} if name else {}),
            pile.listing.rejects | rejects,
            warnings=[*pile.listing.warnings, *about_films(seen), *self._about_long_clips(more)],
        )

    def files(self) -> Pile:
        """Return the frames, films and tables of labels in a directory, or the .zip itself."""
        place = find_source(self.path)
        if place.is_file():
            return Pile(place.parent, [place.name], digest_of(self.labels))
        pile = _list_pile(place)
        rejects = {name: str(reason) for name, reason in pile.listing.rejects.items()}
        names = sorted([*pile.frames, *pile.films, *pile.tables])
        return Pile(place, names, rejects | digest_of(self.labels))

    def _clips(
        self, place: Path, pile: "_Pile"
    ) -> tuple[dict[str, list[Frame]], dict[str, FilmSample], dict[str, RejectedError]]:
        """Return the frames of each clip, the samples of the films among them, and films that cannot be used."""
        clips = folders_of_frames(pile.frames, pile.listing.rejects, self.fps)
        if not pile.films:
            return clips, {}, {}
        if place.is_file():
            return clips, {}, dict.fromkeys(pile.films, RejectedError("a film in an archive", "unpack the archive"))
        require_reader()
        seen, rejects = look_at_films(place, pile.films, self.fps, self.max_frames)
        return clips | {film: frames_of(film, one) for film, one in seen.items()}, seen, rejects

    def _about_long_clips(self, more: list[str]) -> list[str]:
        if not more:
            return []
        which = counted(len(more), "clip has", "clips have")
        return [
            f"{which} more than max_frames ({self.max_frames}) frames, such as {shown(more[0], 100)}: only the first "
            "are used. Raise ingest.source.max_frames to use more, or lower fps to spread them over a longer time."
        ]


class _Pile(NamedTuple):
    """The files of a source.

    Attributes:
        listing: Files of the source, as they were listed.
        frames: Paths of the images in folders that hold no film.
        films: Paths of the films.
        tables: Paths of the tables of labels.
        ignored: Path -> the reason why a file is neither a frame nor a film.
    """

    listing: Listing
    frames: list[str]
    films: list[str]
    tables: list[str]
    ignored: dict[str, str]


def _list_pile(place: Path) -> _Pile:
    """List a directory or a .zip.

    Raises:
        MissingSourceError: The directory or .zip does not exist.
        PipelineError: It holds neither frames nor films.
    """
    listing = list_images(place)
    films = sorted(name for name, reason in listing.ignored.items() if reason == A_FILM)
    with_films = {film.rpartition("/")[0] for film in films}
    posters = [name for name in listing.names if name.rpartition("/")[0] in with_films]
    frames = sorted(set(listing.names).difference(posters))
    if not frames and not films:
        raise PipelineError(
            f"{PATH}: there are neither folders of frames nor films in {shown(str(place), 200)}. Put some there, or "
            "name another path."
        )
    ignored = {name: reason for name, reason in listing.ignored.items() if reason != A_FILM}
    tables = [name for name in ignored if name.rpartition("/")[2] == TABLE]
    return _Pile(listing, frames, films, tables, ignored | dict.fromkeys(posters, "an image beside a film"))


def _refuse_groups(table: Table | None) -> None:
    if table is not None and "group" in table.columns:
        raise PipelineError(
            f"{table.where}: the column 'group' has no effect, because each clip is a separate group. Remove it. To "
            "keep clips in one split, name the split in the column 'split'."
        )


def _read(read: Reader, place: Path, in_order: Collection[str], path: str, limit: int) -> "bytes | Image.Image":
    """Read a frame: a file in a folder, or a moment of a film."""
    if is_frame_of_film(path):
        return read_film(place, in_order, path, limit)
    return read(path, limit)


@hookimpl
def register_sources(register: "Register") -> None:
    """Add `clips`."""
    register("clips", Clips)
