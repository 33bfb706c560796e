"""What lies on the disk of a source, before anything is decoded: its place, and the names of its files."""

import os.path
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ssl_pipeline.data.layout import TABLE
from ssl_pipeline.data.listing import Listing, MissingSourceError, list_images
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.terminal import counted, shown
from ssl_pipeline.workspace import PRODUCTS, find_path, workspace

__all__ = ["PATH", "PILES", "Pile", "find_source", "list_pile"]

PATH = "ingest.source.path"


class Pile(NamedTuple):
    """The files that a source reads, so that a change in them is seen without opening any.

    Attributes:
        root: The folder that names are relative to.
        names: Names of the files whose content counts.
        others: Name of what else is noted -> why it cannot be read.
    """

    root: Path
    names: Sequence[str]
    others: Mapping[str, str]


def folder_pile(path: str) -> Pile:
    """Return the images and tables of labels in a directory, or a .zip as it is.

    Args:
        path: The path of the directory or the .zip.
    """
    place = find_source(path)
    if place.is_file():
        return Pile(place.parent, [place.name], {})
    listing, tables = list_pile(place)
    return Pile(place, [*listing.names, *tables], {name: str(reason) for name, reason in listing.rejects.items()})


def find_source(path: str) -> Path:
    """Return where the path of a source leads; nothing need be there yet.

    Raises:
        ConfigError: Products of the stages lie there, or would: they would be read as images.
    """
    place = find_path(path, PATH)
    found = Path(os.path.realpath(place))  # never mind links to themselves
    for folder in (Path.cwd(), workspace().resolve()):
        for product in ((folder / name).resolve() for name in PRODUCTS):
            if product.is_relative_to(found) or found.is_relative_to(product):
                raise ConfigError(
                    f"{PATH}: {shown(path, 200)} holds products of this project ({shown(str(product), 200)}), which "
                    "would be read as images. Give the images a directory of their own, such as 'images'."
                )
    return place


def list_pile(place: Path) -> tuple[Listing, list[str]]:
    """Return a directory or a .zip, and the names of its tables of labels.

    Raises:
        MissingSourceError: There is nothing.
        PipelineError: It has no images, or is neither a directory nor a .zip.
    """
    listing = list_images(place)
    if not listing.names:
        left_out = {name: str(reason) for name, reason in listing.rejects.items()} | listing.ignored
        such = "".join(f", such as {shown(name, 100)} ({reason})" for name, reason in list(left_out.items())[:1])
        raise PipelineError(
            f"{PATH}: there are no images in {shown(str(place), 200)} ({counted(len(listing.rejects), 'file')} that "
            f"cannot be read, {len(listing.ignored):,} that are not images{such}). Put images there, or name another "
            "path."
        )
    return listing, [name for name in listing.ignored if name.rpartition("/")[2] == TABLE]


def torchvision_pile(path: str, dataset: str, options: dict[str, Any] | None = None) -> Pile:
    """Return all files where a data set of torchvision lies, whatever they are.

    Args:
        path: The directory that it lies in.
        dataset: The data set's name, which is not read: others may lie there, too.
        options: The data set's options, which are not read.
    """
    place = find_source(path)
    if not place.is_dir():
        raise MissingSourceError(
            f"{PATH}: {shown(path, 200)} is not a directory. Name the one that torchvision downloads to."
        )
    listing = list_images(place)
    return Pile(place, sorted([*listing.names, *listing.ignored]), {n: str(why) for n, why in listing.rejects.items()})


PILES: dict[str, Callable[..., Pile]] = {"folder": folder_pile, "torchvision": torchvision_pile}
"""Name of a source -> the files that it reads. One that is not here, such as the digits, reads none."""
