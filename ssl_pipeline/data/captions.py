"""Captions of the stored images: texts that describe an image, any number per image.

`store/<split>/captions.npz` holds the UTF-8 bytes of all captions, concatenated in the order of the rows (`text`), and
two int64 arrays: the end of each caption in these bytes (`ends`), and the number of captions per image (`counts`). A
split without captions has no such file.
"""

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import record, verified
from ssl_pipeline.remedies import remake

__all__ = ["Captions", "read_captions", "write_captions"]

_NAME = "captions.npz"


class Captions:
    """The captions of n images, which are decoded on access.

    Args:
        text: UTF-8 bytes of m captions, concatenated, as uint8.
        ends: Position in `text` after the last byte of each caption, (m,) int64.
        counts: Number of captions of each image, (n,) int64.

    Raises:
        ValueError: The arrays do not match.

    Examples:
        >>> captions = Captions.of([("a red bicycle", "a bicycle"), (), ("sea",)])
        >>> captions[0], captions[1], len(captions)
        (('a red bicycle', 'a bicycle'), (), 3)
        >>> list(captions.all())
        ['a red bicycle', 'a bicycle', 'sea']
    """

    def __init__(self, text: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]):
        ordered = np.diff(ends, prepend=0)
        if (counts < 0).any() or counts.sum() != len(ends) or (ordered < 0).any() or ordered.sum() != len(text):
            raise ValueError(f"{len(text)} bytes, {len(ends)} captions and {len(counts)} images do not match")
        self.text, self.ends, self.counts = text, ends, counts
        self._firsts = np.cumsum(counts) - counts  # index of each image's first caption

    @classmethod
    def of(cls, rows: Iterable[Sequence[str]]) -> "Captions":
        """Build the object from the captions of each image.

        Raises:
            ValueError: A caption cannot be encoded as UTF-8, because it contains half of a surrogate pair.
        """
        encoded = [[caption.encode() for caption in row] for row in rows]
        sizes = [len(caption) for row in encoded for caption in row]
        text = np.frombuffer(b"".join(caption for row in encoded for caption in row), np.uint8)
        return cls(text, np.cumsum(sizes, dtype=np.int64), np.array([len(row) for row in encoded], np.int64))

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, row: int) -> tuple[str, ...]:
        """Return the captions of the image in a row.

        Raises:
            IndexError: The row is not in [0, n).
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row must lie in [0, {len(self)}), got {row}")
        first = int(self._firsts[row])
        return tuple(self._caption(number) for number in range(first, first + int(self.counts[row])))

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return (self[row] for row in range(len(self)))

    def all(self) -> Iterator[str]:
        """Yield all captions, in the order of the rows."""
        return (self._caption(number) for number in range(len(self.ends)))

    def _caption(self, number: int) -> str:
        start = int(self.ends[number - 1]) if number else 0
        return self.text[start : int(self.ends[number])].tobytes().decode()


def write_captions(folder: Path, captions: Captions) -> None:
    """Write the captions of a split."""
    np.savez(folder / _NAME, text=captions.text, ends=captions.ends, counts=captions.counts)
    record(folder / _NAME)


def read_captions(folder: Path) -> Captions:
    """Read the captions of a split that has captions.

    Raises:
        PipelineError: The file of captions is missing or damaged.
    """
    path = folder / _NAME
    try:
        with verified(path, "ingest").open("rb") as opened, np.load(opened) as file:
            return Captions(file["text"], file["ends"], file["counts"])
    except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise PipelineError(f"{path} is damaged ({error}): {remake('ingest')}.") from error
