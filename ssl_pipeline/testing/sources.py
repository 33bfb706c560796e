"""Checks of sources: the promises of `Source` about records, reading, mistakes, and changes of the data."""

import pickle
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from ssl_pipeline.data.decode import Canvas, decode
from ssl_pipeline.data.inventory import Inventory, take
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import Images, Source
from ssl_pipeline.data.source_contract import fault_of_content, fault_of_files, fault_of_images
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.testing.subject import Subject

__all__ = [
    "a_change_is_seen",
    "images_can_be_read",
    "is_a_source",
    "mistakes_are_told",
    "nothing_changes_by_itself",
    "records_are_as_promised",
]

_SAMPLE = 8
_LIMIT = 2**30
_CANVAS = Canvas(8, "squash", (0, 0, 0), 1, 1e3)
_NONSENSE = "no such thing"
Content = bytes | Image.Image


def is_a_source(subject: Subject) -> None:
    """Check that it derives from Source, and is built from its options only."""
    source = subject.factory(**subject.options)
    subject.require(
        isinstance(source, Source),
        f"its factory returns {type(source).__name__}; derive it from ssl_pipeline.data.source.Source.",
    )


def records_are_as_promised(subject: Subject) -> None:
    """Check that there are images with valid records and unique paths, always in the same order."""
    images = _open(subject)
    _keeps(subject, fault_of_images(images))
    subject.require(len(images.records) > 0, "open() returns no records. If there are no images, raise PipelineError.")
    subject.require(
        list(_open(subject).records) == list(images.records),
        "a second open() returns other records, or another order. Sort them, so that the store is always the same.",
    )


def images_can_be_read(subject: Subject) -> None:
    """Check that images can be read and decoded, are the same each time, and respect the limit of their size."""
    images, again = _open(subject), _open(subject)
    reasons, sample = [], _sample(images.records)
    for record in sample:
        content = _read(subject, images, record.path)
        if isinstance(content, RejectedError):
            reasons.append(content)
            continue
        for other in (images, again):
            subject.require(
                _same(content, _read(subject, other, record.path)), f"{record.path} differs when it is read again."
            )
        if isinstance(content, bytes) and content:
            subject.require(
                isinstance(_read(subject, images, record.path, len(content) - 1), RejectedError),
                "read(path, limit) returns more bytes than the limit. Raise RejectedError if a file is larger.",
            )
        try:
            decode(content, _CANVAS)
        except RejectedError as reason:
            reasons.append(reason)
    if len(reasons) == len(sample):
        raise subject.fault(f"none of {len(sample)} images can be used; the first: {reasons[0]}.")
    if images.portable:
        try:
            pickle.dumps(images.read)
        except Exception as error:  # a foreign object may raise anything
            raise subject.fault(
                f"`read` cannot be sent to other processes ({error!s:.200}). Make it a module-level function or a "
                "partial of one, or set portable=False."
            ) from error


def nothing_changes_by_itself(subject: Subject) -> None:
    """Check that the files that images depend on exist, and that opening the images changes nothing."""
    pile = subject.factory(**subject.options).files()
    _keeps(subject, fault_of_files(pile))
    missing = [name for name in pile.names if not (pile.root / name).is_file()]
    subject.require(not missing, f"files() names {missing[:1]}, which is not a file in {pile.root}.")
    before = _inventory(subject)
    _open(subject)
    subject.require(
        _inventory(subject) == before,
        "files() differs between calls although the data is the same. Sort the names, and do not include times.",
    )


def mistakes_are_told(subject: Subject) -> None:
    """Check that an option that names nothing leads to an error with a message that contains its value."""
    for name, field in subject.schema().model_fields.items():
        if field.annotation is str:
            try:
                source = subject.factory(**{**subject.options, name: _NONSENSE})
                source.files()
                if not source.downloads:
                    source.open()
            except (PipelineError, ValueError) as error:
                subject.require(
                    _NONSENSE in str(error),
                    f"for {name}='{_NONSENSE}', its message is '{error!s:.200}'. Include the value in the message.",
                )
            except Exception as error:
                raise subject.fault(
                    f"{name}='{_NONSENSE}' leads to {type(error).__name__} ({error!s:.200}). Raise ValueError in the "
                    "constructor, or PipelineError when the data is read, and say what to do."
                ) from error


def a_change_is_seen(subject: Subject, change: Callable[[], object]) -> None:
    """Check that a change of the data changes the inventory."""
    before = _inventory(subject)
    change()
    subject.require(
        _inventory(subject) != before,
        "the data has changed but files() has not, so ingest would not run again. Name the files that open() reads in "
        "Pile.names, or add a version of the data to Pile.others.",
    )


def _keeps(subject: Subject, fault: str) -> None:
    subject.require(not fault, fault)


def _open(subject: Subject) -> Images:
    source: Source = subject.factory(**subject.options)
    return source.open()


def _inventory(subject: Subject) -> Inventory:
    with tempfile.TemporaryDirectory() as folder:
        return take(subject.factory(**subject.options), {}, Path(folder, "hashes.sqlite"))


def _sample(records: Sequence[Record]) -> Sequence[Record]:
    """Return a few evenly spaced records."""
    return records[:: max(1, (len(records) - 1) // (_SAMPLE - 1))]


def _read(subject: Subject, images: Images, path: str, limit: int = _LIMIT) -> Content | RejectedError:
    try:
        content = images.read(path, limit)
    except RejectedError as reason:
        return reason
    except Exception as error:
        raise subject.fault(
            f"reading {path!r:.200} leads to {type(error).__name__} ({error!s:.200}). Raise RejectedError if an image "
            "cannot be read, so that the others still are."
        ) from error
    _keeps(subject, fault_of_content(content, path))
    return content


def _same(one: Content, other: Content | RejectedError) -> bool:
    if isinstance(one, bytes) or isinstance(other, bytes | RejectedError):
        return one == other
    return (one.mode, one.size, one.tobytes()) == (other.mode, other.size, other.tobytes())
