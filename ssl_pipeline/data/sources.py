"""Where images come from: a short list of functions, chosen by name in `ingest.source`.

To add one, write a function that returns a `Source` and put it into `SOURCES`. Its parameters are its options. If it
reads files, write one that names them, too, and put it into `ssl_pipeline.data.piles.PILES`.
"""

import functools
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from PIL import Image
from pydantic import TypeAdapter, ValidationError

from ssl_pipeline.data.layout import SPLIT_NAMES, TABLE, Record, find_root, parse_table, read_layout
from ssl_pipeline.data.listing import Reader
from ssl_pipeline.data.piles import find_source, list_pile
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.terminal import brief, shown
from ssl_pipeline.validation import hint

__all__ = ["SOURCES", "Source", "check_options", "open_source"]

_TABLE_BYTES = 2**30
_UNREADABLE = (OSError, SyntaxError, ValueError)


@dataclass(frozen=True)
class Source:
    """Images that can be read one by one, and what is said of each.

    Attributes:
        records: What is said of each image, with distinct paths.
        read: Reads one by its path.
        ignored: Path -> why it is taken for no image.
        rejects: Path -> why it cannot be read.
        portable: Whether other processes can call `read`, at little cost.
        warnings: What a person should know of it, one sentence each.
        choice: Its name and options.

    Examples:
        >>> def one_grey_image() -> Source:
        ...     image = Image.new("L", (32, 32), 128)
        ...     return Source([Record("grey.png")], lambda path, _: image, portable=False)
        >>> [record.path for record in one_grey_image().records]
        ['grey.png']
    """

    records: Sequence[Record]
    read: Reader
    ignored: Mapping[str, str] = field(default_factory=dict)
    rejects: Mapping[str, RejectedError] = field(default_factory=dict)
    portable: bool = True
    warnings: Sequence[str] = ()
    choice: Mapping[str, Any] = field(default_factory=dict)


def digits(path: str = "") -> Source:
    """Read scikit-learn's 1,797 handwritten digits of 8 x 8 px (UCI's optical recognition of digits, its test part).

    Args:
        path: A path that is not read; the digits come with scikit-learn.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    images = {
        f"{number:04}-{label}.png": Image.fromarray((pixels * (255 / 16)).round().astype("uint8"))  # 0 to 16 there
        for number, (pixels, label) in enumerate(zip(data.images, data.target, strict=True))
    }
    records = [Record(name, label=name[5]) for name in images]
    return Source(records, lambda name, _: images[name], portable=False)


def folder(path: str) -> Source:
    """Read a directory or a .zip of images; `ssl_pipeline.data.layout` says how folders and labels.csv are read.

    Args:
        path: The path of the directory or the .zip, relative to the folder of params.yaml.
    """
    listing, tables = list_pile(find_source(path))
    root = find_root(listing.names, tables)
    table, ignored = None, dict(listing.ignored)
    if root + TABLE in tables:
        table = parse_table(_read_table(listing.read, root + TABLE, path), f"{path}: {root}{TABLE}")
        ignored[root + TABLE] = "the table of labels"
    records = read_layout(listing.names, root, table, lambda name: name in listing.rejects or name in listing.ignored)
    return Source(records, listing.read, ignored, listing.rejects, warnings=listing.warnings)


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


def torchvision(path: str, dataset: str, options: dict[str, Any] | None = None) -> Source:
    """Read a data set of torchvision, downloaded where there is a network and it is not there yet.

    Args:
        path: The folder that it lies in, or is downloaded to.
        dataset: Its class, such as CIFAR10.
        options: More arguments of the class, such as {split: letters} for EMNIST.
    """
    from torchvision import datasets

    factory = getattr(datasets, dataset, None) if dataset in datasets.__all__ else None
    if not (inspect.isclass(factory) and issubclass(factory, datasets.VisionDataset)):
        known = [name for name in datasets.__all__ if inspect.isclass(getattr(datasets, name))]
        raise ConfigError(
            f"ingest.source.dataset: torchvision has no data set '{shown(dataset, 60)}'.{_hint(dataset, known)}"
        )
    parts = dict(_parts(factory, str(find_source(path)), options or {}))
    if not parts:
        raise ConfigError(f"ingest.source.dataset: {dataset} has none of the usual splits; give one in options.")
    records = []
    for split, part in parts.items():
        labels = _labels(part)
        owner = SPLIT_NAMES.get(split)
        records += [Record(f"{split}/{row:07}", labels[row], owner) for row in range(len(part))]
    return Source(records, functools.partial(_read_item, parts), portable=False)


SOURCES: dict[str, Callable[..., Source]] = {"digits": digits, "folder": folder, "torchvision": torchvision}


def open_source(name: str, options: Mapping[str, Any]) -> Source:
    """Open a source by its name.

    Raises:
        ConfigError: See `check_options`.
        PipelineError: There is nothing to read, or it cannot be read.
    """
    checked = check_options(name, options)
    return replace(SOURCES[name](**checked), choice={"name": name, **checked})


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of a source.

    Raises:
        ConfigError: An unknown name or option, a missing option or one of the wrong type; the message names the key.
    """
    if name not in SOURCES:
        raise ConfigError(f"ingest.source.name: unknown source '{shown(name, 60)}'.{_hint(name, list(SOURCES))}")
    factory = SOURCES[name]
    hints = typing.get_type_hints(factory)
    checked: dict[str, Any] = {}
    for key, parameter in inspect.signature(factory).parameters.items():
        if key not in options:
            if parameter.default is parameter.empty:
                raise ConfigError(f"ingest.source.{key}: missing; the source '{name}' needs it.")
            continue
        try:
            checked[key] = TypeAdapter(hints[key]).validate_python(options[key])
        except ValidationError as error:
            reason = shown(error.errors()[0]["msg"], 200)
            if hints[key] is str and not isinstance(options[key], (dict, list)):
                reason = f'YAML does not read this as a string; write it in quotes, such as {key}: "2024"'
            raise ConfigError(f"ingest.source.{key}: {reason} (found {shown(repr(options[key]), 80)}).") from error
    unknown = [key for key in options if key not in hints]
    if unknown:
        known = [key for key in hints if key != "return"]
        key = shown(unknown[0], 60)
        raise ConfigError(f"ingest.source.{key}: unknown option of '{name}'.{_hint(unknown[0], known)}")
    return checked


def _hint(name: str, known: Sequence[str]) -> str:
    return f"{hint(name, known)} Known: {', '.join(known)}."


def _parts(factory: Callable[..., Any], path: str, options: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The splits of a torchvision data set that its class can give."""
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
"""What torchvision's classes call a split -> ours; where a class has two names for one, the later counts."""


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
            "data set there if the network allows it; without a network, put its files there as torchvision wants them."
        ) from error


def _labels(part: Any) -> list[str | None]:
    """Return the class names of a data set's items, without decoding them where it lists its targets."""
    targets = next((getattr(part, key) for key in ("targets", "labels") if hasattr(part, key)), None)
    if targets is None:
        targets = [_target(part, row) for row in range(len(part))]
    classes = getattr(part, "classes", [])

    def name(target: Any) -> str | None:
        try:
            number = int(target)
        except (TypeError, ValueError):
            return None  # a box, a mask, a caption: nothing that a classifier could be asked for
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
    """Read an item; `limit` is for files, and torchvision has read those."""
    split, _, row = name.partition("/")
    try:
        image = parts[split][int(row)][0]
    except _UNREADABLE as error:
        raise RejectedError("unreadable", str(error)) from error
    if not isinstance(image, Image.Image):
        raise PipelineError(f"ingest.source.dataset: its items are {type(image).__name__}, not images.")
    return image
