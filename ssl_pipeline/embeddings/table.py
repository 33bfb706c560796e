"""The file of embeddings: a Parquet table that records its model, or an array with a CSV beside it."""

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from ssl_pipeline.data.tables import csv_line, harmless
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import atomic_file, write_json
from ssl_pipeline.terminal import brief, shown

__all__ = ["FORMS", "About", "Index", "companions", "known_of", "vectors", "write_rows"]

FORMS = (".parquet", ".npy")
_KEY = b"ssl_pipeline"
_ROWS_AT_A_TIME = 65_536


class About(NamedTuple):
    """Metadata of a file of embeddings.

    Attributes:
        model: Path of the model, as the command line named it.
        model_sha256: SHA-256 of the model's file, in hex.
        root: Folder that all paths in the file are relative to, itself relative to the folder of the file.
        job: Digest of everything that the rows depend on.
        rejected: Number of images in the list of rejects beside the file.
    """

    model: str
    model_sha256: str
    root: str
    job: str
    rejected: int = 0


def companions(out: Path) -> list[Path]:
    """Return the paths of the other files that belong to a file of embeddings, whether they exist or not."""
    besides = {".npy": (".csv", ".json")}.get(out.suffix, ())
    return [out.with_suffix(".rejects.csv"), *(out.with_suffix(suffix) for suffix in besides)]


def write_rows(out: Path, tables: Iterable[pa.Table], columns: pa.Schema, count: int, about: About) -> None:
    """Write a file of embeddings, whole or not at all, without holding all rows in memory.

    Args:
        out: Path of a .parquet, or of an .npy; a .csv and a .json of the same name are written beside an .npy.
        tables: Rows, in several tables with `columns`.
        columns: Schema of the rows.
        count: Number of rows.
        about: Metadata of the file.
    """
    if out.suffix == ".npy":
        out.with_suffix(".json").unlink(missing_ok=True)  # it must never describe a different array
        _write_array(out, tables, columns, count)
        write_json(out.with_suffix(".json"), about._asdict())
        return
    noted = columns.with_metadata({_KEY: json.dumps(about._asdict()).encode()})
    words = [name for name in columns.names if name != "embedding"]
    with (
        atomic_file(out) as temporary,
        pq.ParquetWriter(temporary, noted, compression="zstd", use_dictionary=words) as file,
    ):
        for table in tables:
            file.write_table(table.replace_schema_metadata(noted.metadata))


def _write_array(out: Path, tables: Iterable[pa.Table], columns: pa.Schema, count: int) -> None:
    words = [name for name in columns.names if name != "embedding"]
    shape = (count, columns.field("embedding").type.list_size)
    with contextlib.ExitStack() as stack:
        array = stack.enter_context(stack.enter_context(atomic_file(out)).open("wb"))
        place = stack.enter_context(atomic_file(out.with_suffix(".csv")))
        lines = stack.enter_context(place.open("w", newline="", encoding="utf-8"))
        np.lib.format.write_array_header_1_0(array, {"descr": "<f4", "fortran_order": False, "shape": shape})
        lines.write(csv_line(words))
        for table in tables:
            array.write(vectors(table["embedding"]).tobytes())
            for row in table.select(words).to_pylist():
                lines.write(csv_line([harmless(row["path"], path=True), *list(row.values())[1:]]))


def vectors(column: pa.ChunkedArray) -> npt.NDArray[np.float32]:
    """Return a column of embeddings as an array (n, dim)."""
    array = column.combine_chunks()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    found: npt.NDArray[np.float32] = array.flatten().to_numpy(zero_copy_only=False).reshape(len(array), -1)
    return found


def known_of(out: Path) -> About | None:
    """Return the metadata of a file of embeddings, or None if it or a companion is missing or is some other file."""
    try:
        if out.suffix == ".npy":
            about = About(**json.loads(out.with_suffix(".json").read_bytes()))
        else:
            about = About(**json.loads((pq.read_schema(out).metadata or {})[_KEY]))
        rejects, *besides = companions(out)
        wanted = [out, *besides, *([rejects] if about.rejected else [])]
        return about if all(path.exists() for path in wanted) else None
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


class Index:
    """A table of embeddings that can be searched.

    Args:
        path: Path of a .parquet that `ssl-pipeline embed` has written.

    Attributes:
        about: Metadata of the table.
        dim: Length of an embedding.

    Raises:
        PipelineError: The file does not exist, or is not a table of embeddings.
    """

    def __init__(self, path: Path):
        self.path = path
        if not path.exists():
            raise PipelineError(f"{shown(str(path), 200)} does not exist: create it with `ssl-pipeline embed`.")
        try:
            self._file = pq.ParquetFile(path)
            columns = self._file.schema_arrow
            self.about = About(**json.loads((columns.metadata or {})[_KEY]))
            self.dim = int(columns.field("embedding").type.list_size)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
            raise PipelineError(
                f"{shown(str(path), 200)} is not a table of embeddings ({brief(repr(error))}): name a .parquet that "
                "`ssl-pipeline embed` has written."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *trouble: Any) -> None:
        self._file.close()

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    def place(self, path: str) -> Path:
        """Return the location of an image, from its path in the table."""
        return Path(os.path.normpath(self.path.parent / self.about.root / path))

    def rows(self) -> Iterator[tuple[list[str], npt.NDArray[np.float32]]]:
        """Yield paths and embeddings (n, dim) in blocks of rows, in order."""
        for batch in self._file.iter_batches(_ROWS_AT_A_TIME, columns=["path", "embedding"]):
            table = pa.Table.from_batches([batch])
            yield table["path"].to_pylist(), vectors(table["embedding"])
