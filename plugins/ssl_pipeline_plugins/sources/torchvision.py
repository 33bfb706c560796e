"""The data sets of torchvision, chosen by the names of their classes."""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from PIL import Image

from ssl_pipeline import hookimpl
from ssl_pipeline.data.layout import SPLIT_NAMES, Record
from ssl_pipeline.data.listing import MissingSourceError, list_images
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import PATH, Images, Pile, Source, find_source
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.terminal import brief, shown
from ssl_pipeline.validation import hint

if TYPE_CHECKING:
    from ssl_pipeline.types import Register  # imports torch

_UNREADABLE = (OSError, SyntaxError, ValueError)


class Torchvision(Source):
    """A data set of torchvision, downloaded if it is missing and there is a network.

    Args:
        path: Path of the folder that holds the data set, or to which it is downloaded.
        dataset: Name of its class, such as CIFAR10.
        options: Further arguments of the class, such as {split: letters} for EMNIST.
    """

    downloads = True

    def __init__(self, *, path: str, dataset: str, options: dict[str, Any] | None = None):
        self.path, self.dataset, self.options = path, dataset, options or {}

    def open(self) -> Images:
        """Return the images of all splits that the class offers."""
        from torchvision import datasets

        name = self.dataset
        factory = getattr(datasets, name, None) if name in datasets.__all__ else None
        if not (inspect.isclass(factory) and issubclass(factory, datasets.VisionDataset)):
            known = [name for name in datasets.__all__ if inspect.isclass(getattr(datasets, name))]
            raise ConfigError(
                f"ingest.source.dataset: torchvision has no data set '{shown(name, 60)}'.{hint(name, known)} Known: "
                f"{', '.join(known)}."
            )
        parts = dict(_parts(factory, str(find_source(self.path)), self.options))
        if not parts:
            raise ConfigError(f"ingest.source.dataset: {name} has none of the usual splits. Name one in options.")
        records = []
        for split, part in parts.items():
            labels = _labels(part)
            owner = SPLIT_NAMES.get(split)
            records += [Record(f"{split}/{row:07}", labels[row], owner) for row in range(len(part))]
        return Images(records, functools.partial(_read_item, parts), portable=False)

    def files(self) -> Pile:
        """Return all files in the folder of the data set, even those that do not belong to it."""
        place = find_source(self.path)
        if not place.is_dir():
            raise MissingSourceError(
                f"{PATH}: {shown(self.path, 200)} is not a directory. Name the one that torchvision downloads to."
            )
        listing = list_images(place)
        unreadable = {name: str(reason) for name, reason in listing.rejects.items()}
        return Pile(place, sorted([*listing.names, *listing.ignored]), unreadable)


def _parts(factory: Callable[..., Any], path: str, options: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the splits that the class of a data set offers."""
    parameters = inspect.signature(factory).parameters
    fixed = dict(options)
    if "root" in parameters:
        fixed["root"] = path
    if "download" in parameters:
        fixed.setdefault("download", True)
    if "train" in parameters and "train" not in options:
        yield "train", _construct(factory, fixed | {"train": True})
        yield "test", _construct(factory, fixed | {"train": False})
    elif "split" in parameters and "split" not in options:
        for theirs, ours in _SPLITS.items():
            part = _construct(factory, fixed | {"split": theirs}, optional=True)
            if part is not None:
                yield ours, part
    else:
        yield "all", _construct(factory, fixed)


_SPLITS = {
    "trainval": "train",
    "train": "train",
    "valid": "val",
    "val": "val",
    "test": "test",
    "unlabeled": "unlabelled",
}
"""Name of a split in torchvision -> its name here; if a class has two names for one split, the later entry wins."""


def _construct(factory: Callable[..., Any], arguments: dict[str, Any], optional: bool = False) -> Any:
    name = getattr(factory, "__name__", str(factory))
    try:
        return factory(**arguments)
    except ValueError as error:
        if optional:  # this class has no such split
            return None
        raise ConfigError(f"ingest.source.options: {name} refuses them: {brief(error)}.") from error
    except TypeError as error:
        raise ConfigError(f"ingest.source.options: {name} refuses them: {brief(error)}.") from error
    except (OSError, RuntimeError) as error:  # no network, no such files, a checksum that does not match
        root = shown(str(arguments.get("root")), 200)
        raise PipelineError(
            f"ingest.source: torchvision cannot provide {name} in {root} ({brief(error)}). It downloads the "
            "data set there if the network allows it; without a network, put its files there as torchvision expects."
        ) from error


def _labels(part: Any) -> list[str | None]:
    """Return the class names of a data set's items, without decoding the items if it lists its targets."""
    targets = next((getattr(part, key) for key in ("targets", "labels") if hasattr(part, key)), None)
    if targets is None:
        targets = [_target(part, row) for row in range(len(part))]
    classes = getattr(part, "classes", [])

    def name(target: Any) -> str | None:
        try:
            number = int(target)
        except (TypeError, ValueError):
            return None  # a box, a mask or a caption, which no classifier predicts
        if number < 0:  # STL10's unlabelled images
            return None
        entry = classes[number] if number < len(classes) else number
        return str(entry[0] if isinstance(entry, tuple) else entry)  # ImageNet's classes are tuples of synonyms

    return [name(target) for target in targets]


def _target(part: Any, row: int) -> Any:
    try:
        return part[row][1]
    except _UNREADABLE:
        return None  # the same happens when the image is read, and is reported then


def _read_item(parts: Mapping[str, Any], name: str, limit: int) -> Image.Image:
    """Read an item; `limit` is not used, because torchvision reads the files."""
    split, _, row = name.partition("/")
    try:
        image = parts[split][int(row)][0]
    except _UNREADABLE as error:
        raise RejectedError("unreadable", str(error)) from error
    if not isinstance(image, Image.Image):
        raise PipelineError(f"ingest.source.dataset: its items are {type(image).__name__}, not images.")
    return image


@hookimpl
def register_sources(register: "Register") -> None:
    """Add `torchvision`."""
    register("torchvision", Torchvision)
