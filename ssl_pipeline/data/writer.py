"""Write the store, streamed in blocks, so that memory stays bounded and the same images give the same bytes."""

import hashlib
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.captions import Captions, write_captions
from ssl_pipeline.data.image_spec import RGB8, ImageSpec, Pixels
from ssl_pipeline.data.moments import Moments, write_moments
from ssl_pipeline.data.store import IndexRow, Original
from ssl_pipeline.data.tables import csv_line
from ssl_pipeline.products import record, write_product

__all__ = ["SplitSummary", "canvas_bytes", "rows_per_block", "write_index", "write_originals", "write_split"]

SHARD_BYTES = 2**28
BLOCK_BYTES = 2**22
FLAT_RANGE = 8
"""Range in levels of 255 of the full scale: an image that spans no more in any channel is nearly a single colour."""


@dataclass(frozen=True)
class SplitSummary:
    """Statistics of the images of a split, collected while it was written.

    Attributes:
        mean: Mean of each channel, as a share of the full scale.
        std: Standard deviation of each channel, as a share of the full scale.
        spread: Difference between images: standard deviation over images, root mean square over pixels, in levels of
            255 of the full scale.
        flat: Rows of images that are nearly a single colour.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    spread: float
    flat: list[int]


def canvas_bytes(canvas: int, spec: ImageSpec) -> int:
    """Return the size in bytes of an image in the store."""
    return canvas * canvas * spec.channels * spec.numpy_dtype.itemsize


def rows_per_block(canvas: int, spec: ImageSpec) -> int:
    """Return the number of images per block, which bounds the memory while the store is written."""
    return max(1, BLOCK_BYTES // canvas_bytes(canvas, spec))


def write_split(
    folder: Path,
    ids: npt.NDArray[np.uint64],
    blocks: Iterable[Pixels],
    canvas: int,
    spec: ImageSpec = RGB8,
    captions: Captions | None = None,
    moments: Moments | None = None,
) -> SplitSummary:
    """Write a split, block by block.

    Args:
        folder: Folder of the split, which is created.
        ids: Identities of the images, (n,), in their order.
        blocks: Arrays (m, canvas, canvas, C) of n images in total, without gaps.
        canvas: Side of an image, px.
        spec: Meaning of the images' values.
        captions: Captions of the n images; no file is written if there are none.
        moments: Moments of the n images; no file is written if none is a frame.
    """
    folder.mkdir(parents=True)
    statistics = _Statistics(canvas, spec)
    bytes_hash = hashlib.sha256()
    per_shard = max(1, SHARD_BYTES // canvas_bytes(canvas, spec))
    sizes = [min(per_shard, len(ids) - start) for start in range(0, len(ids), per_shard)]
    pieces = _cut(blocks, sizes)
    for number, size in enumerate(sizes):
        shard = folder / f"images-{number:04}.npy"
        # Plain writes, not a writable memory map: on a full disk, writes raise an error, but a map dies of SIGBUS.
        with shard.open("wb") as file:
            file.write(header := _header((size, canvas, canvas, spec.channels), spec))
            shard_hash = hashlib.sha256(header)  # while writing, so that the store need not be read again for it
            written = 0
            while written < size:
                piece = next(pieces)
                statistics.add(piece)
                content = piece.tobytes()
                bytes_hash.update(content)
                shard_hash.update(content)
                file.write(content)
                written += len(piece)
        record(shard, shard_hash.hexdigest())
    np.save(folder / "ids.npy", ids)
    record(folder / "ids.npy")
    bytes_hash.update(ids.astype("<u8").tobytes())
    told: dict[str, int] = {}  # tells readers which files must exist
    if captions is not None and len(captions.ends):
        write_captions(folder, captions)
        told["captions"] = len(captions.ends)
        bytes_hash.update(b"captions")
        for part in (captions.text, captions.ends.astype("<i8"), captions.counts.astype("<i8")):
            bytes_hash.update(part.tobytes())
    if moments is not None and (moments.clips >= 0).any():
        write_moments(folder, moments)
        told["clips"] = len(np.unique(moments.clips[moments.clips >= 0]))
        bytes_hash.update(b"moments" + moments.clips.astype("<i8").tobytes() + moments.seconds.astype("<f8").tobytes())
    summary = statistics.summary()
    facts = {
        "n": len(ids),
        "canvas": canvas,
        "images": spec.model_dump(mode="json"),
        "mean": summary.mean,
        "std": summary.std,
        "sha256": bytes_hash.hexdigest(),
        **told,
    }
    write_product(folder / "split.json", facts)
    return summary


def write_index(store: Path, rows: Iterable[IndexRow]) -> None:
    """Write the index, which tells people where each image came from; programs read `ssl_pipeline.data.labels`."""
    with (store / "index.csv").open("w", newline="", encoding="utf-8") as file:
        file.writelines(csv_line(row) for row in (IndexRow._fields, *rows))
    record(store / "index.csv")


def write_originals(store: Path, originals: Sequence[Original]) -> None:
    """Write the images that are kept at their original sizes."""
    places = {
        "splits": np.array([original.split for original in originals], dtype="U5"),
        "rows": np.array([original.row for original in originals], dtype=np.int64),
    }
    images = {f"{number:04}": original.image for number, original in enumerate(originals)}
    np.savez(store / "originals.npz", **images, **places)  # type: ignore[arg-type]
    record(store / "originals.npz")


def _header(shape: tuple[int, ...], spec: ImageSpec) -> bytes:
    """Return the header of a .npy file."""
    header = io.BytesIO()
    described = {"descr": spec.numpy_dtype.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, described)
    return header.getvalue()


def _cut(blocks: Iterable[Pixels], sizes: Sequence[int]) -> Iterator[Pixels]:
    """Yield the blocks, cut at the ends of shards."""
    ends = iter(np.cumsum(sizes).tolist())
    position, end = 0, 0
    for block in blocks:
        while len(block):
            if position == end:
                end = next(ends)
            piece, block = block[: end - position], block[end - position :]
            position += len(piece)
            yield piece


class _Statistics:
    """Sums over images, which do not depend on how the images are divided into blocks.

    Integers are summed exactly. Floats are added image by image, in double precision, as shares of the full scale.

    Args:
        canvas: Side of an image, px.
        spec: Meaning of the images' values.
    """

    def __init__(self, canvas: int, spec: ImageSpec):
        self.spec = spec
        self.exact = spec.dtype != "float32"
        self.low, self.range = (_whole(spec.low), _whole(spec.high - spec.low)) if self.exact else (0, 1)
        self.count = 0
        self.sums = np.zeros((canvas, canvas, spec.channels), np.uint64 if self.exact else np.float64)
        self.squares = np.zeros_like(self.sums)
        self.flat: list[int] = []

    def add(self, images: Pixels) -> None:
        if self.exact:
            # For 8-bit values, sums over a block of BLOCK_BYTES fit into 32 bits, which takes a third of the time.
            wide = np.uint32 if len(images) * np.iinfo(images.dtype).max ** 2 < 2**32 else np.uint64
            rows = images.reshape(len(images), -1)
            self.sums += rows.sum(axis=0, dtype=wide).reshape(self.sums.shape)
            self.squares += np.einsum("nk,nk->k", rows, rows, dtype=wide).reshape(self.sums.shape)
        else:
            for image in (images - np.float64(self.spec.low)) / (self.spec.high - self.spec.low):
                self.sums += image
                self.squares += np.square(image)
        span = _over_pixels(np.maximum, images) - _over_pixels(np.minimum, images)
        flat = span <= FLAT_RANGE * (self.spec.high - self.spec.low) / 255
        self.flat += (self.count + np.flatnonzero(flat.all(axis=1))).tolist()
        self.count += len(images)

    def summary(self) -> SplitSummary:
        if not self.count:
            return SplitSummary((0.0,) * self.spec.channels, (1.0,) * self.spec.channels, 0.0, [])
        size = self.count * self.sums.shape[0] * self.sums.shape[1]
        sums = self.sums.sum(axis=(0, 1)).tolist()  # Python's integers do not overflow
        squares = self.squares.sum(axis=(0, 1)).tolist()
        mean = [(total - self.low * size) / (self.range * size) for total in sums]
        std = [
            math.sqrt(max(0, size * square - total * total)) / (self.range * size)
            for total, square in zip(sums, squares, strict=True)
        ]
        variances = self.squares / self.count - np.square(self.sums / self.count)
        spread = math.sqrt(max(0.0, float(variances.mean()))) * (255 / self.range)
        return SplitSummary(tuple(mean), tuple(std), spread, self.flat)


def _over_pixels(better: np.ufunc, images: Pixels) -> Pixels:
    """Reduce images (n, S, S, C) to (n, C), whole rows of pixels first, which takes a tenth of the time."""
    rows = better.reduce(images.reshape(*images.shape[:2], -1), axis=1)
    found: Pixels = better.reduce(rows.reshape(len(images), -1, images.shape[3]), axis=1)
    return found


def _whole(value: float) -> int | float:
    """Return a value as an integer if it is one, because Python's integers are exact."""
    return int(value) if value.is_integer() else value
