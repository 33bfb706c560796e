"""What a run has embedded so far, in a folder that outlives it: rows in the order of the images, some in each file.

A run that was stopped goes on behind the last whole part. Parts end where a batch of the run ended, so that the run
that goes on forms the same batches as one that was never stopped, and its rows have the same bits.
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

_ROW_GROUP = 8192  # rows that lie together in the table


class Row(NamedTuple):
    """What is known of one image.

    Attributes:
        path: The path of the image, as a person would write it.
        width: The width of the upright image, px; 0 if it was rejected, like all that follows.
        height: The height of the upright image, px.
        sha256: The SHA-256 of its pixels, in hex.
        reason: Why it was rejected; "" if it was not.
    """

    path: str
    width: int = 0
    height: int = 0
    sha256: str = ""
    reason: str = ""


def schema(dim: int, energy: bool) -> pa.Schema:
    """Return the columns of a part: those of the table, and the reason of a rejection."""
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
        folder: The folder of the parts, which is made.
        columns: The schema of the parts.
    """

    def __init__(self, folder: Path, columns: pa.Schema):
        self.folder = folder
        self._schema = columns
        folder.mkdir(parents=True, exist_ok=True)

    def done(self) -> int:
        """Return the number of images that have rows here, from the first one on."""
        return sum(stop - start for _, start, stop in self._whole())

    def add(self, start: int, rows: Sequence[Row], embeddings: npt.NDArray[np.float32], energies: object) -> None:
        """Write a part, whole or not at all.

        Args:
            start: The number of images before it.
            rows: What is known of each image, rejected ones too.
            embeddings: (n, dim) embeddings; those of rejected images are 0.
            energies: (n,) energies, or None where there are none.
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
        """Return the parts in their order, with some of their columns."""
        options = pa.ipc.IpcReadOptions(included_fields=[self._schema.get_field_index(name) for name in names])
        for path, _, _ in self._whole():
            with pa.OSFile(str(path), "rb") as file:
                yield pa.ipc.open_file(file, options=options).read_all()

    def _whole(self) -> Iterator[tuple[Path, int, int]]:
        """Return the parts that follow each other from the first image on, with the numbers of their images."""
        end = 0
        for path in sorted(self.folder.glob("*.arrow")):
            start, stop = map(int, path.stem.split("-"))
            if start != end:
                return
            end = stop
            yield path, start, stop


def embedded(parts: Sequence[Parts], columns: pa.Schema) -> Iterator[pa.Table]:
    """Return the rows of parts that have some of their columns and no rejected image, in pieces of equal length.

    Each piece lies in one place, whatever parts it comes from: the bytes of a Parquet file depend on that.
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
    """Return path and reason of each image that was rejected."""
    for part in parts:
        for table in part.tables(["path", "reason"]):
            kept = table.filter(pc.not_equal(table["reason"], ""))
            yield from zip(kept["path"].to_pylist(), kept["reason"].to_pylist(), strict=True)
