"""Decoded canvases on their way to the store: a temporary file in the order of the source."""

from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.decode import Decoded
from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.data.measured import Values
from ssl_pipeline.data.writer import rows_per_block

__all__ = ["Spooled", "blocks", "channel_means", "keep"]


class Spooled(NamedTuple):
    """A decoded file; its canvas, and a bit for each value of it that may be a gap, are in the spool."""

    place: int
    length: int
    has_gaps: bool
    digest: bytes
    width: int
    height: int
    mode: str
    sketch: bytes
    values: Values | None


def keep(spool: IO[bytes], image: Decoded) -> Spooled:
    """Write an image to the end of the spool."""
    place = spool.tell()
    spool.write(image.canvas + image.gaps)
    described = image.digest, image.width, image.height, image.mode, image.sketch, image.values
    return Spooled(place, len(image.canvas), bool(image.gaps), *described)


def blocks(
    spool: IO[bytes], files: Sequence[Spooled], size: int, spec: ImageSpec
) -> Iterator[tuple[Pixels, npt.NDArray[np.bool_]]]:
    """Read canvases and their gaps, (m, size, size, C) each, so many at a time that memory is bounded.

    They are not mapped: mapped pages would count as this process's memory.
    """
    rows, shape = rows_per_block(size, spec), (size, size, spec.channels)
    for start in range(0, len(files), rows):
        chosen = files[start : start + rows]
        block, gaps = bytearray(), np.zeros((len(chosen), *shape), np.bool_)
        for file, gap in zip(chosen, gaps, strict=True):
            spool.seek(file.place)
            block += spool.read(file.length)
            if file.has_gaps:
                bits = np.frombuffer(spool.read((gap.size + 7) // 8), np.uint8)
                gap[...] = np.unpackbits(bits, count=gap.size).reshape(shape)
        yield np.frombuffer(block, spec.numpy_dtype).reshape(-1, *shape), gaps


def channel_means(spool: IO[bytes], files: Sequence[Spooled], size: int, spec: ImageSpec) -> tuple[int | float, ...]:
    """Return the mean of each channel over what was measured, in the units of the images, and a value of their type."""
    total, count = np.zeros(spec.channels), np.zeros(spec.channels)
    for images, gaps in blocks(spool, files, size, spec):
        total += images.sum(axis=(0, 1, 2), dtype=np.float64, where=~gaps)
        count += (~gaps).sum(axis=(0, 1, 2))
    means = np.where(count > 0, total / np.maximum(count, 1), spec.low)
    return tuple(means.astype(np.float32).tolist() if spec.dtype == "float32" else means.round().astype(int).tolist())
