"""Several threads read images from bytes, and an image that ends its decoder costs no other image."""

import dataclasses
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.image_spec import RGB8
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.embeddings.reading import Picture, picture_of
from ssl_pipeline.embeddings.uploads import Uploads
from ssl_pipeline.errors import PipelineError

CANVAS = Canvas(8, "squash", (0, 0, 0), 1, 1.0)


@pytest.fixture
def uploads() -> Iterator[Uploads]:
    uploads = Uploads(CANVAS, RGB8, 2)
    yield uploads
    uploads.close()


def obey(content: bytes) -> Any:
    """Play a decoder: end by the signal that is named, or answer with the number of this process."""
    if content.startswith(b"SIG"):
        number = signal.Signals[content.decode()]
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)
    return Picture(np.full((1, 1, 3), 7, np.uint8), str(os.getpid()))


def test_threads_read_at_the_same_time(uploads: Uploads, tmp_path: Path):
    from tests.factories import digit_images  # imports torch, which would delay each process of `obey`

    for number, digit in enumerate(digits := digit_images(12)):
        Image.fromarray(digit).save(tmp_path / f"{number}.png")
    contents = [(tmp_path / f"{number}.png").read_bytes() for number in range(12)]
    with ThreadPoolExecutor(5) as pool:
        found = list(pool.map(uploads.read, contents))
    assert all(isinstance(picture, Picture) for picture in found)
    np.testing.assert_array_equal([picture.pixels for picture in found if isinstance(picture, Picture)], digits)
    assert str(uploads.read(b"")) == "empty file"


def test_a_process_that_dies_of_an_image_is_replaced(uploads: Uploads):
    uploads._work = obey  # type: ignore[assignment]
    first = uploads.read(b"")
    died = uploads.read(b"SIGSEGV")
    assert isinstance(died, RejectedError)
    assert str(died) == "broken: its decoder crashed (SIGSEGV)"
    assert isinstance(uploads.read(b"SIGPROF"), RejectedError)
    with pytest.raises(PipelineError, match="A decoding process was killed"):
        uploads.read(b"SIGKILL")
    again = uploads.read(b"")
    assert isinstance(first, Picture)
    assert isinstance(again, Picture)
    assert again.sha256 != first.sha256  # by another process


def test_a_process_that_was_killed_when_it_had_no_image_costs_none(uploads: Uploads):
    uploads._work = obey  # type: ignore[assignment]
    first = uploads.read(b"")
    assert isinstance(first, Picture)
    os.kill(int(first.sha256), signal.SIGKILL)
    (worker,) = (worker for worker in uploads._idle.queue if worker is not None)
    worker.process.join(10)
    again = uploads.read(b"")
    assert isinstance(again, Picture)
    assert again.sha256 != first.sha256


@pytest.mark.parametrize(("width", "allowed", "most"), [(3_130_000, 100.0, 3_125_000), (1_050_000, 2.0, 1_048_576)])
def test_an_image_of_which_a_graph_makes_gigabytes_is_refused(width: int, allowed: float, most: int):
    canvas = dataclasses.replace(CANVAS, max_megapixels=allowed)
    strip = Image.new("RGB", (width, 1))
    with pytest.raises(RejectedError, match=f"too large: {width} x 1 px is too wide.*at most {most} at max"):
        picture_of(canvas, RGB8, strip)
    assert picture_of(canvas, RGB8, strip.crop((0, 0, most, 1))).pixels.shape == (1, most, 3)


def test_more_bytes_than_any_image_needs_are_refused(uploads: Uploads, monkeypatch: pytest.MonkeyPatch):
    uploads._most = 10
    assert str(uploads.read(bytes(11))) == "too large: more than 10 bytes"
