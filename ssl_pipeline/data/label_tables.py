"""Find and read the table of labels of a source: labels.csv beside the images, or the file that an option names."""

import hashlib
from collections.abc import Collection, Sequence
from typing import NamedTuple

from ssl_pipeline.data.layout import TABLE, Table, find_root, parse_table
from ssl_pipeline.data.listing import Reader
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.terminal import shown
from ssl_pipeline.workspace import find_path

__all__ = ["LABELS", "FoundTable", "digest_of", "find_table"]

LABELS = "ingest.source.labels"
_TABLE_BYTES = 2**30


class FoundTable(NamedTuple):
    """A table of labels, and the folder in which the layout begins.

    Attributes:
        root: Folder in which the layout begins; see `find_root`. Paths in the table are relative to it.
        table: Parsed table; None if there is none.
        name: Name of the table among the files of the source; None if it is not one of them.
    """

    root: str
    table: Table | None
    name: str | None


def find_table(
    names: Sequence[str], tables: Collection[str], read: Reader, path: str, labels: str | None
) -> FoundTable:
    """Read the table of labels that an option names, or else labels.csv beside the images, if there is one.

    Args:
        names: Names of images, or of other items with a label; at least one.
        tables: Names of files called labels.csv.
        read: Function that reads one of these files.
        path: Path of the source, for messages.
        labels: Value of the option; None if it was left out.

    Raises:
        ConfigError: The file that the option names cannot be read.
        PipelineError: The table cannot be read.
    """
    root = find_root(names, tables)
    if labels is not None:
        table = parse_table(_read_elsewhere(labels), shown(labels, 200))
        # its paths may or may not include the single folder that contains everything else
        return FoundTable("" if table.rows.keys() & set(names) else root, table, None)
    if root + TABLE in tables:
        content = _read_beside(read, root + TABLE, path)
        return FoundTable(root, parse_table(content, f"{path}: {root}{TABLE}"), root + TABLE)
    return FoundTable(root, None, None)


def digest_of(labels: str | None) -> dict[str, str]:
    """Return the inventory entry of the table that the option names; empty if the option was left out.

    Raises:
        ConfigError: The file cannot be read.
    """
    if labels is None:
        return {}
    content = _read_elsewhere(labels)
    return {LABELS: f"{len(content)} {hashlib.sha256(content).hexdigest()}"}


def _read_elsewhere(path: str) -> bytes:
    """Read a table of labels that does not lie beside the images.

    Raises:
        ConfigError: The file is missing, cannot be read, is too large, or is not a file.
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


def _read_beside(read: Reader, name: str, path: str) -> bytes:
    try:
        content = read(name, _TABLE_BYTES)
    except RejectedError as error:
        raise PipelineError(
            f"{shown(path, 200)}: {name} cannot be read ({error.detail or error}). Replace it with a readable table of "
            "labels, or remove it."
        ) from error
    assert isinstance(content, bytes)
    return content
