"""A directory or a .zip of images; `ssl_pipeline.data.layout` says how folders and labels.csv are read."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ssl_pipeline import hookimpl
from ssl_pipeline.data.layout import TABLE, Table, find_root, parse_table, read_layout
from ssl_pipeline.data.listing import Listing, Reader, list_images
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import PATH, Images, Pile, Source, find_source
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.terminal import counted, shown
from ssl_pipeline.workspace import find_path

if TYPE_CHECKING:
    from ssl_pipeline.types import Register  # imports torch

LABELS = "ingest.source.labels"
_TABLE_BYTES = 2**30


class Folder(Source):
    """Images in the folders of a directory or a .zip, which may be classes or splits.

    Args:
        path: The path of the directory or the .zip, relative to the folder of params.yaml.
        labels: The path of a table of labels that lies elsewhere than beside the images: a CSV as labels.csv is, with
            paths relative to the folder of the images. None: labels.csv beside the images, where there is one.
    """

    reads_paths = True

    def __init__(self, *, path: str, labels: str | None = None):
        self.path = path
        self.labels = labels

    def open(self) -> Images:
        """List the images, and read the table of labels."""
        listing, tables = _list_pile(find_source(self.path))
        root, ignored = find_root(listing.names, tables), dict(listing.ignored)
        table: Table | None = None
        if self.labels is not None:
            table = parse_table(_read_elsewhere(self.labels), shown(self.labels, 200))
            # written by somebody who may see the folder that holds all the rest, or may not
            root = "" if table.rows.keys() & set(listing.names) else root
        elif root + TABLE in tables:
            table = parse_table(_read_table(listing.read, root + TABLE, self.path), f"{self.path}: {root}{TABLE}")
            ignored[root + TABLE] = "the table of labels"
        records = read_layout(
            listing.names, root, table, lambda name: name in listing.rejects or name in listing.ignored
        )
        return Images(records, listing.read, ignored, listing.rejects, warnings=listing.warnings)

    def files(self) -> Pile:
        """Return the images and tables of labels in a directory, or a .zip as it is."""
        place = find_source(self.path)
        listing, tables = (None, []) if place.is_file() else _list_pile(place)
        elsewhere = {}
        if self.labels is not None:
            content = _read_elsewhere(self.labels)
            elsewhere[LABELS] = f"{len(content)} {hashlib.sha256(content).hexdigest()}"
        if listing is None:
            return Pile(place.parent, [place.name], elsewhere)
        rejects = {name: str(reason) for name, reason in listing.rejects.items()}
        return Pile(place, [*listing.names, *tables], rejects | elsewhere)


def _read_elsewhere(path: str) -> bytes:
    """Read a table of labels that does not lie beside the images.

    Raises:
        ConfigError: There is no such file, or it cannot be read.
    """
    place = find_path(path, LABELS)
    try:
        if place.exists() and not place.is_file():
            raise ConfigError(f"{LABELS}: '{shown(path, 200)}' is not a file: name a CSV file.")
        with place.open("rb") as file:
            content = file.read(_TABLE_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"{LABELS}: '{shown(path, 200)}' cannot be read ({error.strerror}). Give the path of a CSV file, relative "
            "to the folder of params.yaml."
        ) from error
    if len(content) > _TABLE_BYTES:
        raise ConfigError(f"{LABELS}: '{shown(path, 200)}' has more than {_TABLE_BYTES:,} bytes: name a CSV file.")
    return content


def _list_pile(place: Path) -> tuple[Listing, list[str]]:
    """Return a directory or a .zip, and the names of its tables of labels.

    Raises:
        MissingSourceError: There is nothing.
        PipelineError: It has no images, or is neither a directory nor a .zip.
    """
    listing = list_images(place)
    if not listing.names:
        left_out = {name: str(reason) for name, reason in listing.rejects.items()} | listing.ignored
        such = "".join(f", such as {shown(name, 100)} ({reason})" for name, reason in list(left_out.items())[:1])
        found = (
            f"{counted(len(listing.rejects), 'file')} that cannot be read, {len(listing.ignored):,} that are not images"
        )
        raise PipelineError(
            f"{PATH}: there are no images in {shown(str(place), 200)} ({found + such if left_out else 'it is empty'}). "
            "Put images there, or name another path."
        )
    return listing, [name for name in listing.ignored if name.rpartition("/")[2] == TABLE]


def _read_table(read: Reader, name: str, path: str) -> bytes:
    try:
        content = read(name, _TABLE_BYTES)
    except RejectedError as error:
        raise PipelineError(
            f"{shown(path, 200)}: {name} cannot be read ({error.detail or error}). Put the table of labels there, or "
            "remove it."
        ) from error
    assert isinstance(content, bytes)
    return content


@hookimpl
def register_sources(register: "Register") -> None:
    """Add `folder`."""
    register("folder", Folder)
