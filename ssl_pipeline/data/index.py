"""Read `store/index.csv`, which names the file that each stored image came from."""

import csv
from pathlib import Path

from ssl_pipeline.data.store import IndexRow
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import verified
from ssl_pipeline.remedies import remake

__all__ = ["read_index"]


def read_index(store: Path) -> list[IndexRow]:
    """Return the rows of the index, split by split, and within a split in the order of its images.

    Raises:
        PipelineError: The index is missing or damaged.
    """
    path = verified(store / "index.csv", "ingest")
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        header, *lines = csv.reader(file, strict=True)
    if tuple(header) != IndexRow._fields:
        raise PipelineError(
            f"{path} has a different format version (its columns are {', '.join(header)}): {remake('ingest')}."
        )
    return [IndexRow(*line[:5], *map(int, line[5:9]), *line[9:]) for line in lines]  # type: ignore[arg-type]
