"""The contract of a source, which says where images come from, and what sources with a path have in common.

It lies here and not in `ssl_pipeline.types`, as it needs no torch: the inventory looks at the source in each run.
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

__all__ = ["PATH", "Images", "Pile", "Source", "find_source", "refuse_products"]

PATH = "ingest.source.path"


@dataclass(frozen=True)
class Images:
    """Images that can be read one by one, and what is said of each.

    Attributes:
        records: What is said of each image, with distinct paths.
        read: Reads one by its path.
        ignored: Path -> why it is taken for no image.
        rejects: Path -> why it cannot be read.
        portable: Whether other processes can call `read`, at little cost.
        warnings: What a person should know of it, one sentence each.

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
    """What the images depend on, so that a change is seen without opening any.

    Attributes:
        root: The folder that names are relative to.
        names: Names of the files whose content counts.
        others: Name of what else is noted -> what is noted of it: why a file cannot be read, the version of a table.

    Examples:
        >>> Pile(Path("images"), ["labels.csv", "a.png"], others={"table": "version 3"}).names
        ['labels.csv', 'a.png']
    """

    root: Path = Path()
    names: Sequence[str] = ()
    others: Mapping[str, str] = field(default_factory=dict)


class Source(ABC):
    """Where images come from. What is registered builds one from options alone; it looks at no data yet.

    The constructor refuses a value with a `ValueError`. What only the data shows is a `PipelineError` of `open` and
    `files`; where there is nothing, as in a clone without its images, it is a `MissingSourceError`
    (`ssl_pipeline.data.listing`), for which the last inventory is kept.

    Attributes:
        downloads: Whether `open` fetches what is not there yet. It then runs before `files`.
        reads_paths: Whether it is the source of a program that names nothing but a path: it is built from `path` alone.

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
        """Return the images, with none decoded; the same ones in the same order while the data is the same.

        Raises:
            PipelineError: There is nothing to read, or it cannot be read.
        """

    def files(self) -> Pile:
        """Return what the images depend on; where it has changed, `ingest` runs again. By default it is nothing.

        Raises:
            PipelineError: As `open` does.
        """
        return Pile()


def find_source(path: str) -> Path:
    """Return where the path of a source leads; nothing need be there yet.

    Args:
        path: The value of `ingest.source.path`, relative to the folder of params.yaml.

    Raises:
        ConfigError: Products of the stages lie there, or would: they would be read as images.
    """
    place = find_path(path, PATH)
    refuse_products(path, place, (Path.cwd(), workspace().resolve()))
    return place


def refuse_products(path: str, place: Path, projects: Iterable[Path]) -> None:
    """Refuse a source that holds products of a project, or lies in them.

    Args:
        path: The path as a person has written it, for messages.
        place: The place that it leads to.
        projects: Folders of projects, with their links resolved.

    Raises:
        ConfigError: Products of the stages lie there, or would: they would be read as images.
    """
    found = Path(os.path.realpath(place))  # never mind links to themselves
    for folder in projects:
        for product in ((folder / name).resolve() for name in PRODUCTS):
            if product.is_relative_to(found) or found.is_relative_to(product):
                raise ConfigError(
                    f"{PATH}: {shown(path, 200)} holds products of this project ({shown(str(product), 200)}), which "
                    "would be read as images. Move the images to a directory of their own, such as 'images'."
                )
