"""From images to a file of embeddings: in bounded memory, with several processes, and resumable."""

import contextlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline import guard, progress, ranks
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.tables import harmless, write_table
from ssl_pipeline.embeddings.inputs import Inputs
from ssl_pipeline.embeddings.parts import Parts, Row, embedded, rejected, schema
from ssl_pipeline.embeddings.reading import Picture, canvas_of, read_all
from ssl_pipeline.embeddings.table import About, companions, known_of, write_rows
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import digest, write_json
from ssl_pipeline.progress import say
from ssl_pipeline.runtime import Backbone, resizing_pixels
from ssl_pipeline.terminal import counted, shown

__all__ = ["Job", "Shard", "begun_folder", "embed_all"]

_WINDOW_PIXELS, _WINDOW_IMAGES = 2**23, 512
"""Largest numbers of pixels and of images that are embedded at a time. Three such windows are in memory: one is read,
one waits, one is embedded. Shards consist of whole blocks of `_WINDOW_IMAGES`, so that each image is embedded together
with the same others as in a single process: the last digits of its embedding depend on them."""
_PART_SECONDS, _PART_BYTES = 5.0, 2**26
"""Time in s and bytes of embeddings after which a part is written: this is the work that a killed run loses. A run that
is asked to stop loses one window of images."""
_JOB, _DONE = "job.json", "done.json"


class Shard(NamedTuple):
    """A share of the images: part `number`, counted from 1, of `shards` parts of their list.

    Parts consist of whole blocks of 512 images; their sizes differ by one block at most.
    """

    number: int = 1
    shards: int = 1

    def __str__(self) -> str:
        return f"{self.number}-of-{self.shards}"

    def bounds(self, images: int) -> tuple[int, int]:
        """Return the number of the first image, and the number after that of the last image."""
        blocks = ranks.part(self.number - 1, self.shards, -(-images // _WINDOW_IMAGES))
        return min(blocks.start * _WINDOW_IMAGES, images), min(blocks.stop * _WINDOW_IMAGES, images)


@dataclass(frozen=True)
class Job:
    """Images to embed, the models for it, and the file to write.

    Attributes:
        inputs: Images to embed.
        backbone: Model that embeds them.
        energy: Model that also gives each image an energy, None if there is none.
        out: Path of the file to write.
        max_megapixels: Largest size of an image in megapixels; larger ones are rejected by their header.
    """

    inputs: Inputs
    backbone: Backbone
    energy: Backbone | None
    out: Path
    max_megapixels: float

    @property
    def content(self) -> dict[str, Any]:
        """Everything that the rows depend on, as JSON values."""
        return {
            "model": self.backbone.sha256,
            "energy": self.energy.sha256 if self.energy else None,
            "provider": self.backbone.provider,  # the last digits depend on it
            "images": self.inputs.fingerprint,
            "max_megapixels": self.max_megapixels,
        }

    @property
    def folder(self) -> Path:
        """Folder of the parts of this job until the file is complete."""
        return begun_folder(self.out) / digest(self.content)[:16]


def begun_folder(out: Path) -> Path:
    """Return the folder in which a stopped run leaves its parts."""
    return out.with_name(out.name + ".begun")


def embed_all(job: Job, shard: Shard) -> str:
    """Embed the images of a shard, and write the file when all shards are done.

    Args:
        job: Images to embed, and the file to write.
        shard: Share of the images that this process embeds.

    Returns:
        The outcome, as a sentence.

    Raises:
        PipelineError: No image could be embedded, or another run is working on this job.
        KeyboardInterrupt: A stop was requested; the rows so far are saved for the next run.
    """
    identity = digest(job.content)
    known = known_of(job.out)
    if known is not None and known.job == identity:
        return f"{job.out} is up to date: the images, the model and the provider have not changed."
    columns = schema(job.backbone.dim, job.energy is not None)
    with guard.only_run(job.folder / str(shard)):
        if not (job.folder / str(shard) / _DONE).exists():
            _tell_changes(job)
            _embed(job, shard, Parts(job.folder / str(shard), columns))
    with guard.hold(job.folder / "lock", patience=guard.LOCK_PATIENCE_SECONDS) as mine:
        done = f"Shard {shard.number} of {shard.shards} is done"
        known = known_of(job.out)
        if not mine or (known is not None and known.job == identity):  # a shard that ended at the same time writes it
            if mine:
                shutil.rmtree(job.folder, ignore_errors=True)
            return f"{done}; another shard writes {job.out}."
        missing = [number for number in range(1, shard.shards + 1) if not _is_done(job, Shard(number, shard.shards))]
        if missing:
            listed = shown(", ".join(map(str, missing)), 100)
            return f"{done}; {job.out} is written once all shards are done. Not done yet: {listed}."
        return _finish(job, shard.shards, identity)


def _root(out: Path) -> str:
    """Return the path of the current folder, relative to the folder of a file."""
    try:
        return os.path.relpath(Path.cwd(), out.parent)
    except ValueError:  # on another drive of Windows
        return str(Path.cwd())


def _tell_changes(job: Job) -> None:
    """Print what has changed since a stopped run whose rows cannot be reused."""
    write_json(job.folder / _JOB, job.content)
    for other in begun_folder(job.out).glob(f"*/{_JOB}"):
        if other.parent == job.folder:
            continue
        before = json.loads(other.read_bytes())
        changed = [name for name, value in job.content.items() if before.get(name) != value]
        say(f"embed: the embeddings of an earlier run are not reused; changed since: {', '.join(changed)}.")


def _is_done(job: Job, shard: Shard) -> bool:
    return (job.folder / str(shard) / _DONE).exists()


def _embed(job: Job, shard: Shard, parts: Parts) -> None:
    start, stop = shard.bounds(len(job.inputs))
    first = start + parts.done()
    if first > start:
        say(f"embed: {first - start:,} of {counted(stop - start, 'image')} were already embedded by an earlier run")
    canvas = canvas_of(job.backbone.images, job.backbone.metadata, job.max_megapixels)
    outcomes = read_all(job.inputs, first, stop, canvas, job.backbone.images, ranks.own_cores())
    paths = (place.prefix + name for place in job.inputs.part(first, stop) for name in place.names)
    windows = _in_threads(job, _windows(zip(paths, outcomes, strict=True), first, job.backbone.size))
    held, since = _Held(first - start), time.monotonic()
    with progress.bar() as drawn, guard.stop_requests() as stopping, contextlib.closing(windows):
        task = drawn.add_task("embedding images", total=stop - start, completed=first - start, info="")
        for found in windows:
            held.windows.append(found)
            drawn.advance(task, len(found.rows))
            if stopping() or time.monotonic() - since > _PART_SECONDS or held.bytes > _PART_BYTES:
                held.write(parts)
                since = time.monotonic()
            if stopping():
                done = f"{held.start:,} of {counted(stop - start, 'image')}"
                raise KeyboardInterrupt(f"stopped after {done}; the same command resumes from there")
    held.write(parts)
    write_json(parts.folder / _DONE, {"images": stop - start})


class _Window(NamedTuple):
    """Images that were embedded together; energies (n,) are None without an energy model."""

    rows: list[Row]
    embeddings: npt.NDArray[np.float32]
    energies: npt.NDArray[np.float32] | None


class _Held:
    """Embeddings that have not yet been written to a part."""

    def __init__(self, start: int):
        self.start, self.windows = start, list[_Window]()

    @property
    def bytes(self) -> int:
        return sum(window.embeddings.nbytes for window in self.windows)

    def write(self, parts: Parts) -> None:
        """Write the embeddings as a part, and forget them."""
        if not self.windows:
            return
        rows = [row for window in self.windows for row in window.rows]
        energies = [window.energies for window in self.windows if window.energies is not None]
        embeddings = np.concatenate([window.embeddings for window in self.windows])
        parts.add(self.start, rows, embeddings, np.concatenate(energies) if energies else None)
        self.start, self.windows = self.start + len(rows), []


_Named = tuple[str, Picture | RejectedError]


def _windows(named: Iterable[_Named], first: int, size: int) -> Iterator[list[_Named]]:
    """Divide images into windows by their number of pixels; the boundaries depend on the images alone.

    Args:
        named: Images, starting at one with which a window begins.
        first: Number of that image among all images.
        size: Side in px of the square that the model resizes images to.
    """
    window: list[_Named] = []
    pixels = 0
    for number, (path, outcome) in enumerate(named, first):
        window.append((path, outcome))
        if isinstance(outcome, Picture):
            height, width, _ = outcome.pixels.shape
            pixels += resizing_pixels(height, width, size)
        if pixels >= _WINDOW_PIXELS or (number + 1) % _WINDOW_IMAGES == 0:
            yield window
            window, pixels = [], 0
    if window:
        yield window


def _in_threads(job: Job, windows: Iterable[Sequence[_Named]]) -> Generator[_Window, None, None]:
    """Embed each window while the next one is read."""
    ahead: deque[Future[_Window]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for window in windows:
            ahead.append(pool.submit(_embed_window, job, window))
            if len(ahead) > 1:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _embed_window(job: Job, window: Sequence[_Named]) -> _Window:
    usable = [place for place, (_, outcome) in enumerate(window) if isinstance(outcome, Picture)]
    images = [outcome.pixels for _, outcome in window if isinstance(outcome, Picture)]
    embeddings = np.zeros((len(window), job.backbone.dim), np.float32)
    embeddings[usable] = job.backbone(images)
    energies = None
    if job.energy is not None:
        energies = np.zeros(len(window), np.float32)
        energies[usable] = job.energy(images)
    return _Window([_row(path, outcome) for path, outcome in window], embeddings, energies)


def _row(path: str, outcome: Picture | RejectedError) -> Row:
    if isinstance(outcome, RejectedError):
        return Row(path, reason=str(outcome))
    height, width, _ = outcome.pixels.shape
    return Row(path, width, height, outcome.sha256)


def _finish(job: Job, shards: int, identity: str) -> str:
    """Write the file from all shards, and the list of rejected images."""
    whole = schema(job.backbone.dim, job.energy is not None)
    parts = [Parts(job.folder / str(Shard(number, shards)), whole) for number in range(1, shards + 1)]
    refused = [(path, str(reason)) for path, reason in job.inputs.rejects.items()] + list(rejected(parts))
    count = len(job.inputs) + len(job.inputs.rejects) - len(refused)
    listed, earlier = companions(job.out)[0], count == 0 and job.out.exists()
    if not earlier:  # its list of rejects belongs to it
        listed.unlink(missing_ok=True)
        if refused:
            write_table(listed, ("path", "reason"), ((harmless(path, path=True), reason) for path, reason in refused))
    if count == 0:
        shutil.rmtree(begun_folder(job.out), ignore_errors=True)
        path, reason = refused[0]
        rest = f"{job.out} and its list of rejects of an earlier run are unchanged" if earlier else f"See {listed}"
        raise PipelineError(
            f"None of {counted(len(refused), 'image')} can be used, for example {shown(path, 200)} "
            f"({shown(reason, 300)}). {rest}."
        )
    columns = whole.remove(whole.get_field_index("reason"))
    about = About(str(job.backbone.path), job.backbone.sha256, _root(job.out), identity, len(refused))
    write_rows(job.out, embedded(parts, columns), columns, count, about)
    shutil.rmtree(begun_folder(job.out), ignore_errors=True)
    said = f"{job.out}: {counted(count, 'image')} embedded, {job.backbone.dim} numbers each"
    said += f"; {len(refused):,} rejected, see {listed}" if refused else "; none rejected"
    return said + (f"; {counted(job.inputs.ignored, 'file')} of other types ignored." if job.inputs.ignored else ".")
