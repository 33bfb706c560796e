"""Tables of labels, which sources find beside the images as labels.csv, or where an option names another file."""

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
    """A table of labels, and where the layout begins.

    Attributes:
        root: The folder in which the layout begins; see `find_root`. Paths in the table are relative to it.
        table: The table; None where there is none.
        name: The name of the table among the files of the source; None where it is not one of them.
    """

    root: str
    table: Table | None
    name: str | None


def find_table(
    names: Sequence[str], tables: Collection[str], read: Reader, path: str, labels: str | None
) -> FoundTable:
    """Read the table of labels that an option names, or else labels.csv beside the images, where there is one.

    Args:
        names: Names of images, or of whatever has a label; at least one.
        tables: Names of files called labels.csv.
        read: The function that reads one of these.
        path: The path of the source, for messages.
        labels: The value of the option; None: it was left out.

    Raises:
        ConfigError: The file that the option names cannot be read.
        PipelineError: The table cannot be read.
    """
    root = find_root(names, tables)
    if labels is not None:
        table = parse_table(_read_elsewhere(labels), shown(labels, 200))
        # written by somebody who may see the folder that holds all the rest, or may not
        return FoundTable("" if table.rows.keys() & set(names) else root, table, None)
    if root + TABLE in tables:
        content = _read_beside(read, root + TABLE, path)
        return FoundTable(root, parse_table(content, f"{path}: {root}{TABLE}"), root + TABLE)
    return FoundTable(root, None, None)


def digest_of(labels: str | None) -> dict[str, str]:
    """Return what an inventory notes of the file that the option names; nothing where it was left out.

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


def _read_beside(read: Reader, name: str, path: str) -> bytes:
    try:
        content = read(name, _TABLE_BYTES)
    except RejectedError as error:
        raise PipelineError(
            f"{shown(path, 200)}: {name} cannot be read ({error.detail or error}). Put the table of labels there, or "
            "remove it."
        ) from error
    assert isinstance(content, bytes)
    return content
