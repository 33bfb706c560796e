"""The spool: decoded images on their way to the store, in a folder with a piece per process that outlives a failed run.

    canvases-0000   the canvases, concatenated, each followed by a bit mask of its gaps if it has any
    outcomes-0000   a line of JSON per file: further facts about its picture, or why it was rejected

A run that was killed leaves complete files in each piece, and perhaps an incomplete one at the end. The next run
resumes with the remaining files, with any number of processes. Files that were rejected for lack of time or memory are
decoded again, because they may be readable now.
"""

import json
import shutil
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.decode import Decoded
from ssl_pipeline.data.exif import Shot
from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.data.measured import Values
from ssl_pipeline.data.remarks import Note, RejectedError
from ssl_pipeline.data.writer import rows_per_block
from ssl_pipeline.errors import ChangedError
from ssl_pipeline.guard import hold
from ssl_pipeline.products import digest

__all__ = ["Outcome", "Spool", "Spooled", "blocks", "channel_means", "held", "resumable"]

_FLUSH_SECONDS = 1.0  # s; seconds of decoding that are lost if a run is killed


@contextmanager
def resumable(folder: Path, content: Any) -> Iterator[Path | None]:
    """Yield a folder for a spool, which is kept for a later run if the block fails, unless files of the source changed.

    Args:
        folder: Folder for the spools of failed runs. Spools for other contents are removed from it.
        content: Everything that decoding depends on, in the types of JSON; a spool is resumed only if it is the same.

    Yields:
        The folder of the spool; None if another run is using it.
    """
    place = folder / digest(content)[:16]
    with hold(place / "lock", patience=0) as mine:
        if not mine:
            yield None
            return
        for other in folder.iterdir():
            if other != place:
                with hold(other / "lock", patience=0) as idle:
                    if idle:
                        shutil.rmtree(other, ignore_errors=True)
        try:
            yield place
        except ChangedError:  # the spool may contain pictures that no longer exist
            shutil.rmtree(place, ignore_errors=True)
            raise
        shutil.rmtree(place, ignore_errors=True)  # the next run removes what cannot be removed now


def held(folder: Path) -> int:
    """Return the size in bytes of the canvases that a failed run left in a folder."""
    return sum(piece.stat().st_size for piece in folder.glob("canvases-*"))


class Spooled(NamedTuple):
    """A decoded file, whose canvas and mask of gaps are in a piece of the spool.

    The attributes that are not listed here are those of `ssl_pipeline.data.decode.Decoded`.

    Attributes:
        piece: Number of the piece.
        place: Position of the canvas in the piece, in bytes.
        length: Size of the canvas, in bytes.
        has_gaps: Whether a bit mask of gaps follows the canvas.
    """

    piece: int
    place: int
    length: int
    has_gaps: bool
    digest: bytes
    width: int
    height: int
    mode: str
    sketch: bytes
    values: Values | None
    notes: tuple[Note, ...]
    file_bytes: int
    shot: Shot


Outcome = Spooled | RejectedError


class Spool(AbstractContextManager["Spool"]):
    """The pieces of all processes, open for reading; each process writes to its own piece.

    Args:
        folder: Folder of the spool, created if need be. Complete outcomes of an earlier run are kept.
        number: Number of the piece that this process writes to.

    Attributes:
        folder: Folder of the spool.
        canvases: Files of canvases, by the number of the piece.
        known: Outcomes by the path of the file: those of this process's piece, and after `look`, those of all pieces.
    """

    def __init__(self, folder: Path, number: int = 0):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self._number = folder, number
        self.canvases: dict[int, IO[bytes]] = {}
        self._outcomes: dict[int, IO[bytes]] = {}
        self._whole: dict[int, tuple[int, int]] = {}  # complete bytes of canvases and of outcomes, by piece
        self.known: dict[str, Outcome] = {}
        self._flushed = time.monotonic()
        self._end, length = self._open(number, "a+b")
        self.canvases[number].truncate(self._end)  # removes an incomplete file at the end
        self._outcomes[number].truncate(length)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in (*self.canvases.values(), *self._outcomes.values()):
            file.close()

    def look(self) -> None:
        """Read the pieces of other processes, none of which may be writing; later calls read only what is new."""
        for path in sorted(self.folder.glob("outcomes-*")):
            number = int(path.name.removeprefix("outcomes-"))
            if number != self._number:
                self._open(number, "rb")

    def keep(self, path: str, outcome: Decoded | RejectedError) -> None:
        """Add the outcome of a file."""
        if isinstance(outcome, RejectedError):
            self.known[path] = outcome
            self._write({"path": path, "rejected": [outcome.kind, outcome.detail]})
            return
        content = outcome.canvas + outcome.gaps
        self.canvases[self._number].write(content)
        found = self.known[path] = Spooled(
            piece=self._number,
            place=self._end,
            length=len(outcome.canvas),
            has_gaps=bool(outcome.gaps),
            digest=outcome.digest,
            width=outcome.width,
            height=outcome.height,
            mode=sys.intern(outcome.mode),  # one string in memory, not one per file
            sketch=outcome.sketch,
            values=outcome.values,
            notes=outcome.notes,
            file_bytes=outcome.file_bytes,
            shot=outcome.shot._replace(camera=sys.intern(outcome.shot.camera)),
        )
        self._end += len(content)
        described = found._asdict() | {"digest": found.digest.hex(), "sketch": found.sketch.hex()}
        self._write({"path": path, "bytes": len(content), "crc32": zlib.crc32(content), **described})

    def flush(self) -> None:
        """Write all added outcomes to the files, where other processes find them."""
        self.canvases[self._number].flush()  # first, so that no line describes a canvas that is missing
        self._outcomes[self._number].flush()
        self._flushed = time.monotonic()

    def _write(self, line: dict[str, Any]) -> None:
        self._outcomes[self._number].write(json.dumps(line).encode() + b"\n")
        if time.monotonic() - self._flushed >= _FLUSH_SECONDS:
            self.flush()

    def _open(self, number: int, mode: str) -> tuple[int, int]:
        """Reopen a piece and read what is new; return how many bytes of canvases and of outcomes are complete."""
        place, length = self._whole.get(number, (0, 0))
        for files, name, start in ((self.canvases, "canvases", place), (self._outcomes, "outcomes", length)):
            if number in files:
                files[number].close()
            files[number] = (self.folder / f"{name}-{number:04}").open(mode)
            files[number].seek(start)
        for line in self._outcomes[number]:
            read = _read(line, self.canvases[number], number, place)
            if read is None:
                break
            path, outcome, size = read
            if isinstance(outcome, Spooled) or not outcome.depends_on_machine:
                self.known[path] = outcome
            place += size
            length += len(line)
        self._whole[number] = place, length
        return place, length


def _read(line: bytes, canvases: IO[bytes], piece: int, place: int) -> tuple[str, Outcome, int] | None:
    """Return the path, the outcome and the size of the canvas that a line describes; None if either is incomplete."""
    try:
        told = json.loads(line)
        path = told.pop("path")
        if not line.endswith(b"\n") or not isinstance(path, str):
            return None
        if "rejected" in told:
            return path, RejectedError(*told["rejected"]), 0
        content = canvases.read(told.pop("bytes"))
        if zlib.crc32(content) != told.pop("crc32") or (told["piece"], told["place"]) != (piece, place):
            return None
        values, notes = told["values"], tuple(Note(*note) for note in told["notes"])
        binary = {name: bytes.fromhex(told[name]) for name in ("digest", "sketch")}
        listed = {"values": Values(*values) if values else None, "notes": notes, "shot": Shot(*told["shot"])}
        found = Spooled(**told | binary | listed)
    except (ValueError, TypeError, LookupError, AttributeError):  # this is not a line that the spool has written
        return None
    return path, found, len(content)


def blocks(
    spool: Spool, files: Sequence[Spooled], size: int, spec: ImageSpec
) -> Iterator[tuple[Pixels, npt.NDArray[np.bool_]]]:
    """Yield blocks of canvases and of masks of their gaps, (m, size, size, C) each, so that memory is bounded.

    The files are read, not mapped, because mapped pages would count as this process's memory.
    """
    rows, shape = rows_per_block(size, spec), (size, size, spec.channels)
    for start in range(0, len(files), rows):
        chosen = files[start : start + rows]
        block, gaps = bytearray(), np.zeros((len(chosen), *shape), np.bool_)
        for file, gap in zip(chosen, gaps, strict=True):
            canvases = spool.canvases[file.piece]
            canvases.seek(file.place)
            block += canvases.read(file.length)
            if file.has_gaps:
                bits = np.frombuffer(canvases.read((gap.size + 7) // 8), np.uint8)
                gap[...] = np.unpackbits(bits, count=gap.size).reshape(shape)
        yield np.frombuffer(block, spec.numpy_dtype).reshape(-1, *shape), gaps


def channel_means(spool: Spool, files: Sequence[Spooled], size: int, spec: ImageSpec) -> tuple[int | float, ...]:
    """Return the mean of each channel over its measured values, in the units of the images, rounded to their type."""
    total, count = np.zeros(spec.channels), np.zeros(spec.channels)
    for images, gaps in blocks(spool, files, size, spec):
        total += images.sum(axis=(0, 1, 2), dtype=np.float64, where=~gaps)
        count += (~gaps).sum(axis=(0, 1, 2))
    means = np.where(count > 0, total / np.maximum(count, 1), spec.low)
    return tuple(means.astype(np.float32).tolist() if spec.dtype == "float32" else means.round().astype(int).tolist())
