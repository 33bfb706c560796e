"""What decoding found, on its way to the store: files in the order of the source, in a folder that outlives the run.

    canvases   the canvases, one after the other, each with a bit for each of its values that may be a gap
    outcomes   a line of JSON for each file: what is known of its picture besides, or why it is rejected

A run that was killed left a whole number of files, and perhaps a torn one behind them: the next run goes on there, or
at the first file that was rejected for want of time or memory, which may be read now.
"""

import json
import shutil
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline.data.decode import Decoded
from ssl_pipeline.data.image_spec import ImageSpec, Pixels
from ssl_pipeline.data.measured import Values
from ssl_pipeline.data.remarks import Note, RejectedError
from ssl_pipeline.data.writer import rows_per_block
from ssl_pipeline.errors import ChangedError
from ssl_pipeline.guard import hold
from ssl_pipeline.products import digest

__all__ = ["Spool", "Spooled", "blocks", "channel_means", "resumable"]

_FLUSH_SECONDS = 1.0  # what a run that is killed has decoded in vain, s


@contextmanager
def resumable(folder: Path, content: Any) -> Iterator[Path | None]:
    """Yield a folder for a spool, which stays for a later run where the block fails, unless its files have changed.

    Args:
        folder: What is left of failed runs. Here lies the spool of one run; those of others are removed.
        content: All that decoding depends on, as JSON has it: where it differs, nothing is taken over.

    Yields:
        The folder; None where another run is at work in it.
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
        except ChangedError:  # what lies there may be of pictures that are there no more
            shutil.rmtree(place, ignore_errors=True)
            raise
        shutil.rmtree(place, ignore_errors=True)  # what cannot be removed now is removed by the next run


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
    notes: tuple[Note, ...]


class Spool(AbstractContextManager["Spool"]):
    """The two files, open to be read and to be added to.

    Args:
        folder: The folder, which is made. What an earlier run left there is kept as far as it is whole.
        paths: The paths of the source's files, in their order.

    Attributes:
        canvases: The file of canvases.
        known: What is there already of the first files.
    """

    def __init__(self, folder: Path, paths: Iterable[str]):
        folder.mkdir(parents=True, exist_ok=True)
        self.canvases: IO[bytes] = (folder / "canvases").open("a+b")
        self._outcomes: IO[bytes] = (folder / "outcomes").open("a+b")
        self._end = 0
        self._flushed = time.monotonic()
        self.known = self._whole(paths)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.canvases.close()
        self._outcomes.close()

    def keep(self, path: str, outcome: Decoded | RejectedError) -> Spooled | RejectedError:
        """Add what was found of the next file."""
        if isinstance(outcome, RejectedError):
            self._write({"path": path, "rejected": [outcome.kind, outcome.detail]})
            return outcome
        content = outcome.canvas + outcome.gaps
        self.canvases.write(content)
        found = Spooled(
            place=self._end,
            length=len(outcome.canvas),
            has_gaps=bool(outcome.gaps),
            digest=outcome.digest,
            width=outcome.width,
            height=outcome.height,
            mode=sys.intern(outcome.mode),  # one string, not one for each file
            sketch=outcome.sketch,
            values=outcome.values,
            notes=outcome.notes,
        )
        self._end += len(content)
        described = found._asdict() | {"digest": found.digest.hex(), "sketch": found.sketch.hex()}
        self._write({"path": path, "bytes": len(content), "crc32": zlib.crc32(content), **described})
        return found

    def _write(self, line: dict[str, Any]) -> None:
        self._outcomes.write(json.dumps(line).encode() + b"\n")
        if time.monotonic() - self._flushed >= _FLUSH_SECONDS:
            self.canvases.flush()  # first, so that what a line tells of is there
            self._outcomes.flush()
            self._flushed = time.monotonic()

    def _whole(self, paths: Iterable[str]) -> list[Spooled | RejectedError]:
        """Return what is there of the first files, and cut off what is torn or belongs to other files."""
        known: list[Spooled | RejectedError] = []
        end = 0
        self.canvases.seek(0)
        self._outcomes.seek(0)
        for path, line in zip(paths, self._outcomes, strict=False):
            found = self._read(path, line)
            if found is None:
                break
            known.append(found)
            end += len(line)
        self._outcomes.truncate(end)
        self.canvases.truncate(self._end)
        return known

    def _read(self, path: str, line: bytes) -> Spooled | RejectedError | None:
        try:
            told = json.loads(line)
            if not line.endswith(b"\n") or told.pop("path") != path:
                return None
            if "rejected" in told:
                rejected = RejectedError(*told["rejected"])
                return None if rejected.depends_on_machine else rejected
            content = self.canvases.read(told.pop("bytes"))
            if zlib.crc32(content) != told.pop("crc32") or told["place"] != self._end:
                return None
            values, notes = told["values"], tuple(Note(*note) for note in told["notes"])
            binary = {name: bytes.fromhex(told[name]) for name in ("digest", "sketch")}
            found = Spooled(**told | binary | {"values": Values(*values) if values else None, "notes": notes})
        except (ValueError, TypeError, LookupError, AttributeError):  # what lies there is no line of ours
            return None
        self._end += len(content)
        return found


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
