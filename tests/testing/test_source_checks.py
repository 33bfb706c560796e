"""The conformance kit finds what is wrong with a source, and passes a sound one."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import Images, Pile, Source
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.testing import check_source

GREY = Image.new("L", (9, 9), 100)


class Sound(Source):
    """A source that lists the files of a folder.

    Args:
        path: Path of the folder.
    """

    def __init__(self, *, path: str):
        self.path = Path(path)

    def open(self) -> Images:
        return Images([Record(name) for name in self.names()], self.read, portable=False)

    def files(self) -> Pile:
        return Pile(self.path, self.names())

    def names(self) -> list[str]:
        if not self.path.is_dir():
            raise PipelineError(f"there is no folder {self.path}")
        return sorted(path.name for path in self.path.iterdir())

    def read(self, name: str, limit: int) -> bytes | Image.Image:
        content = (self.path / name).read_bytes()
        if len(content) > limit:
            raise RejectedError("too large")
        return content


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(5):
        Image.new("L", (9, 9), number).save(tmp_path / f"{number}.png")
    return tmp_path


def test_a_sound_source_passes(folder: Path):
    check_source(Sound, path=str(folder), change=lambda: GREY.save(folder / "9.png"))


def opens(*records: Any, **others: Any) -> Callable[[Source], Images]:
    return lambda source: Images(records, others.pop("read", lambda path, limit: GREY), **{"portable": False} | others)


def fails(error: Exception) -> Callable[..., Any]:
    def fail(*arguments: Any) -> Any:
        raise error

    return fail


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"open": opens()}, "open() returns no records"),
        ({"open": lambda source: []}, "must return Images"),
        ({"open": opens(Record("a"), Record("a"))}, "2 records have the path 'a'"),
        ({"open": opens(Record("a", split="training"))}, "split train, val, test or None"),  # type: ignore[arg-type]
        ({"open": opens(Record("a", label=3))}, "non-empty text or None as its label"),  # type: ignore[arg-type]
        ({"names": lambda source: [str(random.random())]}, "another order"),
        ({"read": lambda source, name, limit: random.randbytes(9)}, "differs when it is read again"),
        ({"read": lambda source, name, limit: "text"}, "read() returns str"),
        ({"read": lambda source, name, limit: b"no image"}, "more bytes than the limit"),
        ({"read": fails(OSError("gone"))}, "leads to OSError"),
        ({"read": fails(RejectedError("unreadable"))}, "none of 5 images can be used"),
        ({"open": opens(Record("a"), portable=True)}, "`read` cannot be sent to other processes"),
        ({"files": lambda source: ["a"]}, "must return a Pile"),
        ({"files": lambda source: Pile(source.path, ["nowhere.png"])}, "which is not a file in"),
        ({"files": lambda source: Pile(others={"version": str(random.random())})}, "differs between calls"),
        ({"names": lambda source: sorted(path.name for path in source.path.iterdir())}, "leads to FileNotFoundError"),
        ({"files": lambda source: Pile()}, "ingest would not run again"),
    ],
)
def test_what_is_broken_is_said(folder: Path, changes: dict[str, Any], words: str):
    broken = type("Broken", (Sound,), {"__doc__": Sound.__doc__, **changes})
    with pytest.raises(AssertionError) as caught:
        check_source(broken, path=str(folder), change=lambda: GREY.save(folder / "9.png"))
    assert str(caught.value).startswith("Broken: ")
    assert words in str(caught.value)


def test_options_without_a_type_or_a_line_are_said():
    def source(path=""):  # type: ignore[no-untyped-def]
        return Sound(path=path)

    with pytest.raises(AssertionError, match="parameter 'path' has no type"):
        check_source(source)


def test_what_is_no_source_is_said():
    def source() -> int:
        return 3

    with pytest.raises(AssertionError, match="its factory returns int; derive it from"):
        check_source(source)
