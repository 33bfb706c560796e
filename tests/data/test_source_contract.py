"""A source that breaks its contract is named, with the image, what it returned and what is expected."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.inventory import take
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.parallel import decode_all
from ssl_pipeline.data.source import Images, Source
from ssl_pipeline.data.source_contract import open_images
from ssl_pipeline.errors import ConfigError

CANVAS = Canvas(8, "squash", (0, 0, 0), 1, 1.0)
NAME = r"ingest.source: Odd \(tests.data.test_source_contract\) breaks the contract of sources: "


class Odd(Source):
    """A source whose methods return what a test says."""

    def __init__(self, images: object, pile: object = None):
        self.images, self.pile = images, pile

    def open(self) -> Any:
        return self.images

    def files(self) -> Any:
        return self.pile


def grey(path: str, limit: int) -> Image.Image:
    return Image.new("L", (8, 8), 9)


def array(path: str, limit: int) -> Any:
    return np.zeros((8, 9, 3), np.uint8)


def nothing(path: str, limit: int) -> Any:
    return None


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([Record("a")], r"open\(\) returns list; it must return Images"),
        (np.zeros((2, 8, 8), np.uint8), r"open\(\) returns ndarray of uint8 \(2, 8, 8\); it must return Images"),
        (Images((Record(name) for name in "ab"), grey), "Images.records is of type generator; it must be a sequence"),  # type: ignore[arg-type]
        (Images([Record("a")], grey, rejects={"b": "broken"}), "Images.rejects must give a RejectedError"),  # type: ignore[dict-item]
        (Images(["a.png"], grey), "'a.png' must be a Record with a path"),  # type: ignore[list-item]
        (Images([Record(Path("a"))], grey), "must be a Record with a path"),  # type: ignore[arg-type]
        (Images([Record("a"), Record("b"), Record("a")], grey), "2 records have the path 'a'; paths must be unique"),
        (Images([Record("a", label=3)], grey), "Record.path='a', label=3.* must have a non-empty text or None as its"),  # type: ignore[arg-type]
        (Images([Record("a", captions="a cat")], grey), "must have a tuple of texts as its captions"),  # type: ignore[arg-type]
        (Images([Record("a", seconds=1.0)], grey), "the record's group must then name its clip"),
        (Images([Record("a", group="b", seconds="1")], grey), "must be in seconds"),  # type: ignore[arg-type]
    ],
)
def test_open_that_returns_something_else_is_named(images: object, words: str) -> None:
    with pytest.raises(ConfigError, match=NAME + ".*" + words):
        open_images(Odd(images))


@pytest.mark.parametrize("portable", [True, False])
@pytest.mark.parametrize(("read", "words"), [(array, r"ndarray of uint8 \(8, 9, 3\)"), (nothing, "NoneType")])
def test_read_that_returns_something_else_is_named_with_the_image(
    read: Callable[..., Any], words: str, portable: bool
) -> None:
    images = open_images(Odd(Images([Record("a.png")], read, portable=portable)))
    expected = rf"{NAME}read\(\) returns {words} for 'a.png'; it must return the bytes of a file or a Pillow image"
    with pytest.raises(ConfigError, match=expected):
        list(decode_all(images, CANVAS))


def test_files_that_returns_something_else_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=NAME + r"files\(\) returns list; it must return a Pile"):
        take(Odd(None, ["a"]), {}, tmp_path / "hashes.sqlite")


def test_a_sound_source_is_read_as_before() -> None:
    images = Images([Record("a"), Record("b", "cat", "train", "clip", ("A cat.",), 0.5)], grey, warnings=("One.",))
    opened = open_images(Odd(images))
    assert (opened.records, opened.warnings, opened.portable) == (images.records, images.warnings, images.portable)
    assert opened.read("a", 9) == grey("a", 9)
