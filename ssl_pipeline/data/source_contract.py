"""The contract of sources, checked where their images enter the pipeline; the conformance kit uses the same checks."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from numbers import Real

from PIL import Image

from ssl_pipeline.data.layout import SPLIT_NAMES, Record
from ssl_pipeline.data.listing import Reader
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import Images, Pile, Source
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown

__all__ = ["fault_of_content", "fault_of_files", "fault_of_images", "open_images", "pile_of"]

_SPLITS = (None, *SPLIT_NAMES.values())
_TEXT_OR_NONE = (str, type(None))
_CONTENT = (bytes, Image.Image)
_FIELDS = {"records": Sequence, "ignored": Mapping, "rejects": Mapping, "warnings": Sequence}


def open_images(source: Source) -> Images:
    """Return the images of a source, whose contents are checked when they are read.

    Raises:
        ConfigError: The source breaks its contract; the message names the source, and the image if one is concerned.
        PipelineError: The data is missing, or cannot be read.
    """
    images = source.open()
    if fault := fault_of_images(images):
        raise _broken(_name(source), fault)
    return replace(images, read=functools.partial(_read, images.read, _name(source)))


def pile_of(source: Source) -> Pile:
    """Return what the images of a source depend on.

    Raises:
        ConfigError: The source breaks its contract; the message names the source.
        PipelineError: The data is missing, or cannot be read.
    """
    pile = source.files()
    if fault := fault_of_files(pile):
        raise _broken(_name(source), fault)
    return pile


def fault_of_images(images: object) -> str:
    """Return what is wrong with the result of `Source.open`, in a sentence with what to do; "" if nothing is."""
    if not isinstance(images, Images):
        return f"open() returns {_described(images)}; it must return Images."
    for name, kind in _FIELDS.items():
        if not isinstance(value := getattr(images, name), kind):
            return f"Images.{name} is of type {_described(value)}; it must be a {kind.__name__.lower()}."
    if not all(isinstance(reason, RejectedError) for reason in images.rejects.values()):
        return "Images.rejects must give a RejectedError for each path."
    for record in images.records:
        if fault := _fault_of_record(record):
            return f"{shown(repr(record), 200)} {fault}"
    paths = [record.path for record in images.records]
    if len(set(paths)) < len(paths):
        path, times = Counter(paths).most_common(1)[0]
        return f"{times} records have the path {shown(repr(path), 200)}; paths must be unique."
    return ""


def fault_of_files(pile: object) -> str:
    """Return what is wrong with the result of `Source.files`, in a sentence with what to do; "" if nothing is."""
    return "" if isinstance(pile, Pile) else f"files() returns {_described(pile)}; it must return a Pile."


def fault_of_content(content: object, path: str) -> str:
    """Return what is wrong with the result of `Images.read`, in a sentence with what to do; "" if nothing is."""
    if isinstance(content, _CONTENT):
        return ""
    return (
        f"read() returns {_described(content)} for {shown(repr(path), 200)}; it must return the bytes of a file or a "
        "Pillow image, such as Image.fromarray(array)."
    )


def _fault_of_record(record: object) -> str:
    if not (isinstance(record, Record) and isinstance(record.path, str) and record.path and record.split in _SPLITS):
        return "must be a Record with a path, and with the split train, val, test or None."
    if not all(isinstance(said, _TEXT_OR_NONE) and said != "" for said in (record.label, record.group)):
        return "must have a non-empty text or None as its label and as its group."
    if not (isinstance(record.captions, tuple) and all(isinstance(caption, str) for caption in record.captions)):
        return "must have a tuple of texts as its captions, which may be empty."
    if record.seconds is not None and (record.group is None or not _is_time(record.seconds)):
        return "has a time, which must be in seconds and at least 0; the record's group must then name its clip."
    return ""


def _is_time(value: object) -> bool:
    return isinstance(value, Real) and 0 <= float(value) < float("inf")


def _read(read: Reader, source: str, path: str, limit: int) -> bytes | Image.Image:
    content = read(path, limit)
    if fault := fault_of_content(content, path):
        raise _broken(source, fault)
    return content


def _broken(source: str, fault: str) -> ConfigError:
    return ConfigError(f"ingest.source: {source} breaks the contract of sources: {fault}")


def _name(source: Source) -> str:
    return f"{type(source).__name__} ({type(source).__module__})"


def _described(value: object) -> str:
    """Return the type of a value; for an array, also the type of its elements and its shape."""
    kind, dtype, shape = type(value).__name__, getattr(value, "dtype", None), getattr(value, "shape", None)
    return f"{kind} of {dtype} {tuple(shape)}" if dtype is not None and isinstance(shape, tuple) else kind
