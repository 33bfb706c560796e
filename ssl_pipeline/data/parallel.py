"""Decode images on all cores, in order, with bounds on the images in memory and on the cost of each file."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from PIL import Image

from ssl_pipeline import ranks
from ssl_pipeline.data.chunk import Chunk
from ssl_pipeline.data.decode import Canvas, Decoded, decode, read_pixels
from ssl_pipeline.data.image_spec import Pixels
from ssl_pipeline.data.listing import Reader
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.source import Images
from ssl_pipeline.data.workers import Limits, in_order, outcome

__all__ = ["DecodingOutcome", "decode_all", "file_limit", "limits_of", "read_again", "read_at_most"]

DecodingOutcome = Decoded | RejectedError
Content = bytes | Image.Image

SERIAL_SECONDS = 1.0
"""Seconds of decoding before more processes are started, because starting them takes about as long."""
CHUNK_BYTES = 2**20
CHUNK_IMAGES = 64
SECONDS = 20.0
SECONDS_PER_BYTE = 0.5e-6
"""Processor time that a file may take, in s and s per byte: some ten times that of intact files of 16 megapixels, in
any format."""
SPARE_BYTES = 2**29
BYTES_PER_PIXEL = {"rgb8": 48, "as_is": 64}
"""Memory that decoding may take on top of the file, in bytes: more than any format needs to become RGB pixels, or 16
bands of 4-byte values."""


def file_limit(canvas: Canvas) -> int:
    """Return the largest size of a file, in bytes, which is more than the bands of the largest image take."""
    most = 16e6 if canvas.pixels.name == "rgb8" else 64e6
    return max(2**26, int(most * canvas.max_megapixels))


def decode_all(images: Images, canvas: Canvas, workers: int | None = None) -> Iterator[DecodingOutcome]:
    """Decode images, in the order of their records.

    Files are decoded in separate processes, so that a file which hangs or crashes one is only rejected. Images that a
    data set has already decoded are processed here at first, and by other processes once this has taken a while.

    Args:
        images: Images to decode.
        canvas: Canvas to fit the images to, and the limits of what is accepted.
        workers: Number of decoding processes; None starts one per core that this process may use, after sharing the
            cores with other ranks on this machine. The outcomes do not depend on it.

    Raises:
        PipelineError: A decoding process was killed.
    """
    workers = workers or ranks.own_cores()
    names = [record.path for record in images.records]
    work = functools.partial(decode, canvas=canvas)
    started, done = time.monotonic(), 0
    while not images.portable and done < len(names) and (workers == 1 or time.monotonic() - started < SERIAL_SECONDS):
        yield outcome(_reader(images, canvas), work, names[done])
        done += 1
    patience = SERIAL_SECONDS if images.portable else 0.0
    yield from in_order(_chunks(images, names[done:], canvas, work), workers, limits_of(canvas), patience)


def read_again(images: Images, names: Sequence[str], canvas: Canvas) -> Iterator[Pixels | RejectedError]:
    """Decode some images again at their original sizes, one by one, in order; a file that changed may be rejected."""
    read, work = _reader(images, canvas), functools.partial(_pixels, canvas)
    if images.portable:
        yield from in_order((Chunk([name], read, work) for name in names), 1, limits_of(canvas), 0.0)
    else:
        yield from (outcome(read, work, name) for name in names)


def limits_of(canvas: Canvas) -> Limits:
    """Return the limits on the time and memory for decoding one file for a canvas."""
    memory = SPARE_BYTES + file_limit(canvas) + int(BYTES_PER_PIXEL[canvas.pixels.name] * 1e6 * canvas.max_megapixels)
    return Limits(SECONDS, SECONDS_PER_BYTE, memory)


def _chunks(images: Images, names: Sequence[str], canvas: Canvas, work: Callable[[Content], Any]) -> Iterator[Chunk]:
    size = min(CHUNK_IMAGES, max(1, CHUNK_BYTES // (canvas.size**2 * 3)))
    read = here = _reader(images, canvas)
    for start in range(0, len(names), size):
        chunk = names[start : start + size]
        if not images.portable:
            read = functools.partial(_hand_over, {name: outcome(here, _as_it_is, name) for name in chunk})
        yield Chunk(chunk, read, work)


def _reader(images: Images, canvas: Canvas) -> Callable[[str], Content]:
    return functools.partial(read_at_most, images.read, file_limit(canvas))


def read_at_most(read: Reader, limit: int, name: str) -> Content:
    """Read a file of up to `limit` bytes; the order of the arguments suits `functools.partial`."""
    return read(name, limit)


def _pixels(canvas: Canvas, content: Content) -> Pixels:
    return read_pixels(content, canvas)[0]


def _as_it_is(content: Content) -> Content:
    return content


def _hand_over(contents: Mapping[str, Content | RejectedError], name: str) -> Content:
    """Return what the parent process has read, or raise its rejection."""
    content = contents[name]
    if isinstance(content, RejectedError):
        raise content
    return content
