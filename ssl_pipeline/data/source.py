"""The contract of sources, which provide images, and what sources with a path have in common.

This module is not in `ssl_pipeline.types`, because it must not import torch: the inventory reads the source in each
run.
"""

import os.path
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.listing import Reader
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown
from ssl_pipeline.workspace import PRODUCTS, find_path, workspace

__all__ = ["NO_IMAGES", "PATH", "Images", "Pile", "Source", "find_source", "refuse_products"]

PATH = "ingest.source.path"
NO_IMAGES = (
    "ingest.source: there are no images, not even unusable ones. Check that the options of the source name the right "
    "data; if the source is your own, check what its open() returns."
)
"""Message for a source that has neither records nor rejects."""


@dataclass(frozen=True)
class Images:
    """Images that can be read one by one, with a record of each.

    Attributes:
        records: Records of the images, with distinct paths.
        read: Function that reads an image, given its path and a limit in bytes.
        ignored: Reason why a file is not taken for an image, by path.
        rejects: Reason why a file cannot be read, by path.
        portable: Whether other processes can call `read`, at little cost.
        warnings: Warnings for the user, one sentence each.

    Examples:
        >>> files = {"a.png": b"...", "b.png": b"..."}
        >>> images = Images([Record("a.png", label="cat"), Record("b.png")], lambda path, limit: files[path])
        >>> [record.label for record in images.records], images.read("a.png", 1000)
        (['cat', None], b'...')
    """

    records: Sequence[Record]
    read: Reader
    ignored: Mapping[str, str] = field(default_factory=dict)
    rejects: Mapping[str, RejectedError] = field(default_factory=dict)
    portable: bool = True
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Pile:
    """Files and other facts that the images depend on, so that a change is noticed without opening any image.

    Attributes:
        root: Folder that the names are relative to.
        names: Names of the files whose content matters.
        others: Further facts, by name, such as the version of a table, or why a file cannot be read.

    Examples:
        >>> Pile(Path("images"), ["labels.csv", "a.png"], others={"table": "version 3"}).names
        ['labels.csv', 'a.png']
    """

    root: Path = Path()
    names: Sequence[str] = ()
    others: Mapping[str, str] = field(default_factory=dict)


class Source(ABC):
    """Base class of sources, which provide images.

    The constructor takes options alone, reads no data, and raises a `ValueError` if an option has a wrong value. `open`
    and `files` raise a `PipelineError` for mistakes that only the data reveals. If the data is missing, as in a clone
    without its images, they raise a `MissingSourceError` (`ssl_pipeline.data.listing`), and the last inventory is kept.

    Attributes:
        downloads: Whether `open` downloads missing data. It then runs before `files`.
        reads_paths: Whether commands that are given only a path use this source; it is then built from `path` alone.

    Examples:
        >>> from PIL import Image
        >>> class OneGrey(Source):
        ...     def __init__(self, level: int = 128):
        ...         self.level = level
        ...
        ...     def open(self) -> Images:
        ...         image = Image.new("L", (32, 32), self.level)
        ...         return Images([Record("grey.png", label="grey")], lambda path, limit: image, portable=False)
        >>> [record.path for record in OneGrey(level=7).open().records]
        ['grey.png']
    """

    downloads: bool = False
    reads_paths: bool = False

    @abstractmethod
    def open(self) -> Images:
        """Return the images, without decoding any. The same data gives the same images in the same order.

        Raises:
            PipelineError: The data is missing, or cannot be read.
        """

    def files(self) -> Pile:
        """Return what the images depend on, by default nothing; if it changes, `ingest` runs again.

        Raises:
            PipelineError: The data is missing, or cannot be read.
        """
        return Pile()


def find_source(path: str) -> Path:
    """Resolve the path of a source, which need not exist yet.

    Args:
        path: Value of `ingest.source.path`, relative to the folder of params.yaml.

    Raises:
        ConfigError: Products of the stages are, or will be, under this path, and would be read as images.
    """
    place = find_path(path, PATH)
    refuse_products(path, place, (Path.cwd(), workspace().resolve()))
    return place


def refuse_products(path: str, place: Path, projects: Iterable[Path]) -> None:
    """Refuse a source that contains products of a project, or lies inside them.

    Args:
        path: Path as the user wrote it, for messages.
        place: Path that it resolves to.
        projects: Folders of projects, with their links resolved.

    Raises:
        ConfigError: Products of the stages are, or will be, under this path, and would be read as images.
    """
    found = Path(os.path.realpath(place))  # unlike Path.resolve, this accepts links to themselves
    for folder in projects:
        for product in ((folder / name).resolve() for name in PRODUCTS):
            if product.is_relative_to(found) or found.is_relative_to(product):
                raise ConfigError(
                    f"{PATH}: {shown(path, 200)} contains products of this project ({shown(str(product), 200)}), which "
                    "would be read as images. Move the images to a directory of their own, such as 'images'."
                )
