"""The rows that a run has embedded so far, in the order of the images, as several files in a folder that outlives it.

A run that was stopped resumes after the last complete part. Parts end at the boundaries of batches, so that a resumed
run forms the same batches as an uninterrupted one, and its rows have the same bits.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ssl_pipeline.products import atomic_file

__all__ = ["Parts", "Row", "embedded", "rejected", "schema"]

_ROW_GROUP = 8192  # rows per row group of the Parquet file


class Row(NamedTuple):
    """Facts about one image.

    Attributes:
        path: Path of the image, as a person would write it.
        width: Width of the upright image in px, 0 if it was rejected.
        height: Height of the upright image in px, 0 if it was rejected.
        sha256: SHA-256 of its pixels in hex, "" if it was rejected.
        reason: Reason of the rejection, "" if it was accepted.
    """

    path: str
    width: int = 0
    height: int = 0
    sha256: str = ""
    reason: str = ""


def schema(dim: int, energy: bool) -> pa.Schema:
    """Return the columns of a part: those of the table, and the reason for a rejection."""
    columns = [
        ("path", pa.string()),
        ("embedding", pa.list_(pa.float32(), dim)),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("sha256", pa.string()),
        *([("energy", pa.float32())] if energy else []),
        ("reason", pa.string()),
    ]
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in columns])


class Parts:
    """The parts of one run, or of one of its shards.

    Args:
        folder: Folder of the parts, created if it does not exist.
        columns: Schema of the parts.
    """

    def __init__(self, folder: Path, columns: pa.Schema):
        self.folder = folder
        self._schema = columns
        folder.mkdir(parents=True, exist_ok=True)

    def done(self) -> int:
        """Return the number of images, counted from the first, that have rows without a gap."""
        return sum(stop - start for _, start, stop in self._whole())

    def add(self, start: int, rows: Sequence[Row], embeddings: npt.NDArray[np.float32], energies: object) -> None:
        """Write a part, whole or not at all.

        Args:
            start: Number of images before this part.
            rows: Facts about each image, including rejected ones.
            embeddings: Embeddings (n, dim), 0 for rejected images.
            energies: Energies (n,), or None if no energy model is used.
        """
        dim = embeddings.shape[1]
        columns = {
            "path": pa.array([row.path for row in rows], pa.string()),
            "embedding": pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1), pa.float32()), dim),
            "width": pa.array([row.width for row in rows], pa.int32()),
            "height": pa.array([row.height for row in rows], pa.int32()),
            "sha256": pa.array([row.sha256 for row in rows], pa.string()),
            "energy": None if energies is None else pa.array(energies, pa.float32()),
            "reason": pa.array([row.reason for row in rows], pa.string()),
        }
        batch = pa.RecordBatch.from_arrays([columns[name] for name in self._schema.names], schema=self._schema)
        with (
            atomic_file(self.folder / f"{start:012}-{start + len(rows):012}.arrow") as temporary,
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, self._schema) as writer,
        ):
            writer.write_batch(batch)

    def tables(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the parts in order, with the named columns only."""
        options = pa.ipc.IpcReadOptions(included_fields=[self._schema.get_field_index(name) for name in names])
        for path, _, _ in self._whole():
            with pa.OSFile(str(path), "rb") as file:
                yield pa.ipc.open_file(file, options=options).read_all()

    def _whole(self) -> Iterator[tuple[Path, int, int]]:
        """Yield the parts without a gap from the first image on, each with the range of its images."""
        end = 0
        for path in sorted(self.folder.glob("*.arrow")):
            start, stop = map(int, path.stem.split("-"))
            if start != end:
                return
            end = stop
            yield path, start, stop


def embedded(parts: Sequence[Parts], columns: pa.Schema) -> Iterator[pa.Table]:
    """Yield the rows of accepted images, with some of the columns, in pieces of equal length.

    Each piece is one contiguous chunk, even if it spans several parts: the bytes of a Parquet file depend on chunks.
    """
    held = columns.empty_table()
    for part in parts:
        for table in part.tables([*columns.names, "reason"]):
            kept = table.filter(pc.equal(table["reason"], "")).select(columns.names)
            held = pa.concat_tables([held, kept])
            while len(held) >= _ROW_GROUP:
                yield held[:_ROW_GROUP].combine_chunks()
                held = held[_ROW_GROUP:]
    if len(held):
        yield held.combine_chunks()


def rejected(parts: Sequence[Parts]) -> Iterator[tuple[str, str]]:
    """Yield path and reason of each rejected image."""
    for part in parts:
        for table in part.tables(["path", "reason"]):
            kept = table.filter(pc.not_equal(table["reason"], ""))
            yield from zip(kept["path"].to_pylist(), kept["reason"].to_pylist(), strict=True)
