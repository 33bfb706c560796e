"""Writing the store: streamed in blocks, so that memory stays flat, and the same bytes for the same images."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.store import Images, IndexRow, Original
from ssl_pipeline.data.tables import csv_line
from ssl_pipeline.products import record, write_product

__all__ = ["SplitSummary", "rows_per_block", "write_index", "write_originals", "write_split"]

SHARD_BYTES = 2**28
BLOCK_BYTES = 2**22
FLAT_RANGE = 8
"""Grey levels: an image that in no channel spans more is one colour, for all that can be learned from it."""


@dataclass(frozen=True)
class SplitSummary:
    """What was found while a split was written.

    Attributes:
        mean: The mean of each channel, in [0, 1].
        std: The standard deviation of each channel, in [0, 1].
        spread: How far images differ from each other: std over images, root mean square over pixels, in grey levels.
        flat: Rows of images that are nearly one colour.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    spread: float
    flat: list[int]


def rows_per_block(canvas: int) -> int:
    """How many images to hold at once while the store is written, so that memory is bounded."""
    return max(1, BLOCK_BYTES // (canvas * canvas * 3))


def write_split(folder: Path, ids: npt.NDArray[np.uint64], blocks: Iterable[Images], canvas: int) -> SplitSummary:
    """Write a split, a block at a time.

    Args:
        folder: Is made.
        ids: (n,) identities, in the order of the images.
        blocks: Arrays (m, canvas, canvas, 3) of n images in all.
        canvas: Side of an image, px.
    """
    folder.mkdir(parents=True)
    statistics = _Statistics(canvas)
    bytes_hash = hashlib.sha256()
    per_shard = max(1, SHARD_BYTES // (canvas * canvas * 3))
    sizes = [min(per_shard, len(ids) - start) for start in range(0, len(ids), per_shard)]
    pieces = _cut(blocks, sizes)
    for number, size in enumerate(sizes):
        shard = folder / f"images-{number:04}.npy"
        # Plain writes, not a writable memory map: where the disk is full, these raise and a map dies of SIGBUS.
        with shard.open("wb") as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": (size, canvas, canvas, 3)}
            np.lib.format.write_array_header_1_0(file, header)
            written = 0
            while written < size:
                piece = next(pieces)
                statistics.add(piece)
                content = piece.tobytes()
                bytes_hash.update(content)
                file.write(content)
                written += len(piece)
        record(shard)
    np.save(folder / "ids.npy", ids)
    record(folder / "ids.npy")
    bytes_hash.update(ids.astype("<u8").tobytes())
    summary = statistics.summary()
    facts = {
        "n": len(ids),
        "canvas": canvas,
        "mean": summary.mean,
        "std": summary.std,
        "sha256": bytes_hash.hexdigest(),
    }
    write_product(folder / "split.json", facts)
    return summary


def write_index(store: Path, rows: Iterable[IndexRow]) -> None:
    """Write the index."""
    with (store / "index.csv").open("w", newline="", encoding="utf-8") as file:
        file.writelines(csv_line(row) for row in (IndexRow._fields, *rows))
    record(store / "index.csv")


def write_originals(store: Path, originals: Sequence[Original]) -> None:
    """Write the images that are kept at their own shapes."""
    places = {
        "splits": np.array([original.split for original in originals], dtype="U5"),
        "rows": np.array([original.row for original in originals], dtype=np.int64),
    }
    images = {f"{number:04}": original.image for number, original in enumerate(originals)}
    np.savez(store / "originals.npz", **images, **places)  # type: ignore[arg-type]
    record(store / "originals.npz")


def _cut(blocks: Iterable[Images], sizes: Sequence[int]) -> Iterator[Images]:
    """Cut blocks where a shard ends."""
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
    """Sums in whole numbers, so that they are exact and do not depend on how images are cut into blocks."""

    def __init__(self, canvas: int):
        self.count = 0
        self.sums = np.zeros((canvas, canvas, 3), np.uint64)
        self.squares = np.zeros((canvas, canvas, 3), np.uint64)
        self.flat: list[int] = []

    def add(self, images: Images) -> None:
        self.sums += images.sum(axis=0, dtype=np.uint64)
        self.squares += np.square(images, dtype=np.uint32).sum(axis=0, dtype=np.uint64)
        span = images.max(axis=(1, 2)) - images.min(axis=(1, 2))
        self.flat += (self.count + np.flatnonzero((span <= FLAT_RANGE).all(axis=1))).tolist()
        self.count += len(images)

    def summary(self) -> SplitSummary:
        if not self.count:
            return SplitSummary((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 0.0, [])
        size = self.count * self.sums.shape[0] * self.sums.shape[1]
        sums = [int(value) for value in self.sums.sum(axis=(0, 1))]
        squares = [int(value) for value in self.squares.sum(axis=(0, 1))]
        mean = [total / (255 * size) for total in sums]
        std = [
            math.sqrt(size * square - total * total) / (255 * size) for total, square in zip(sums, squares, strict=True)
        ]
        variances = self.squares / self.count - np.square(self.sums / self.count)
        spread = math.sqrt(max(0.0, float(variances.mean())))
        return SplitSummary((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), spread, self.flat)
