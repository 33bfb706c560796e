"""What lies on the disk of a source, before anything is decoded: its place, and the names of its files."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ssl_pipeline.data.layout import TABLE
from ssl_pipeline.data.listing import Listing, list_images
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.workspace import find

__all__ = ["PATH", "PILES", "MissingSourceError", "Pile", "list_pile"]

PATH = "augment.source.path"


class MissingSourceError(ConfigError):
    """Nothing lies where a source should be; the message says where."""


class Pile(NamedTuple):
    """The files that a source reads, so that a change in them is seen without opening any.

    Attributes:
        root: The folder that names are relative to.
        names: Of the files whose content counts.
        others: Name of what else is noted -> why it cannot be read.
    """

    root: Path
    names: Sequence[str]
    others: Mapping[str, str]


def folder_pile(path: str) -> Pile:
    """The images and tables of labels in a directory, or a .zip as it is.

    Args:
        path: Of the directory or the .zip.
    """
    place = _find(path)
    if place.is_file():
        return Pile(place.parent, [place.name], {})
    listing, tables = list_pile(path)
    return Pile(place, [*listing.names, *tables], {name: str(reason) for name, reason in listing.rejects.items()})


def _find(path: str) -> Path:
    """The directory or file that a path leads to.

    Raises:
        MissingSourceError: There is nothing.
        ConfigError: It is something else, or a directory that has the products of this very run in it.
    """
    place = find(path, PATH)
    if not place.exists():
        raise MissingSourceError(
            f"{PATH}: {path[:200]} does not exist. Give the path of a directory or of a .zip with images, relative to "
            "the folder of params.yaml."
        )
    if place.is_dir() and Path.cwd().is_relative_to(place.resolve()):
        raise ConfigError(
            f"{PATH}: {path[:200]} holds this project, whose products would be read as images. Put the images into a "
            "directory of their own."
        )
    if not place.is_dir() and not place.is_file():  # a pipe would be waited at for ever
        raise ConfigError(f"{PATH}: {path[:200]} is neither a directory nor a .zip, but a pipe or a device.")
    return place


def list_pile(path: str) -> tuple[Listing, list[str]]:
    """A directory or a .zip, and the names of its tables of labels.

    Raises:
        PipelineError: It has no images.
    """
    listing = list_images(_find(path))
    if not listing.names:
        left_out = {name: str(reason) for name, reason in listing.rejects.items()} | listing.ignored
        such = "".join(f", such as {name} ({reason})" for name, reason in list(left_out.items())[:1])
        raise PipelineError(
            f"{PATH}: there are no images in {path} ({len(listing.rejects)} files that cannot be read, "
            f"{len(listing.ignored)} that are no images{such}). Put images there, or name another path."
        )
    return listing, [name for name in listing.ignored if name.rpartition("/")[2] == TABLE]


def torchvision_pile(path: str, dataset: str, options: dict[str, Any] | None = None) -> Pile:
    """All files where a data set of torchvision lies, whatever they are.

    Args:
        path: Where it lies.
        dataset: Not read; others may lie there, too.
        options: Not read.
    """
    place = find(path, PATH)
    if not place.is_dir():
        raise MissingSourceError(f"{PATH}: {path[:200]} is no directory that torchvision could have downloaded to.")
    listing = list_images(place)
    return Pile(place, sorted([*listing.names, *listing.ignored]), {n: str(why) for n, why in listing.rejects.items()})


PILES: dict[str, Callable[..., Pile]] = {"folder": folder_pile, "torchvision": torchvision_pile}
"""Name of a source -> the files that it reads. One that is not here, such as the digits, reads none."""
