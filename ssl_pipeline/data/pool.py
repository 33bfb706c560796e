"""Decoding on all cores, in order, with a bounded number of images on the way."""

import functools
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from PIL import Image

from ssl_pipeline.data.decode import Canvas, Decoded, RejectedError, decode
from ssl_pipeline.data.listing import Reader
from ssl_pipeline.data.sources import Source
from ssl_pipeline.errors import PipelineError

__all__ = ["Outcome", "decode_all", "file_limit"]

Outcome = Decoded | RejectedError

PATIENCE = 1.0
"""Seconds of decoding before other processes are started: starting them takes about as long."""
CHUNK_BYTES = 2**20
CHUNK_IMAGES = 64
CHUNKS_EACH = 3
"""Chunks on the way for each process: one in work, one waiting, one done."""


class _Chunk(NamedTuple):
    names: list[str]
    read: Reader
    limit: int
    canvas: Canvas


def file_limit(canvas: Canvas) -> int:
    """The most bytes that a file may have: 16 for each pixel that an image may have, which no plain format needs."""
    return max(2**26, int(16e6 * canvas.max_megapixels))


def decode_all(source: Source, canvas: Canvas, workers: int | None = None) -> Iterator[Outcome]:
    """Decode a source's images, in the order of its records.

    Args:
        source: What to decode.
        canvas: How.
        workers: Processes; None: one for each core that this process may use. The outcome does not depend on it.

    Raises:
        PipelineError: A decoding process was killed.
    """
    workers = workers or available_cores()
    names = [record.path for record in source.records]
    limit = file_limit(canvas)
    started, done = time.monotonic(), 0
    while done < len(names) and (workers == 1 or time.monotonic() - started < PATIENCE):
        yield _attempt(source.read, names[done], limit, canvas)
        done += 1
    if done < len(names):
        yield from _in_processes(_chunks(source, names[done:], limit, canvas), workers)


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _chunks(source: Source, names: Sequence[str], limit: int, canvas: Canvas) -> Iterator[_Chunk]:
    size = min(CHUNK_IMAGES, max(1, CHUNK_BYTES // (canvas.size**2 * 3)))
    for start in range(0, len(names), size):
        chunk = list(names[start : start + size])
        read = source.read
        if not source.portable:
            read = functools.partial(_hand_over, {name: _read_here(source.read, name, limit) for name in chunk})
        yield _Chunk(chunk, read, limit, canvas)


def _in_processes(chunks: Iterator[_Chunk], workers: int) -> Iterator[Outcome]:
    # Spawned, not forked: torch, or an archive that is open here, would not survive a fork.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_follow_parent)
    pending: deque[Future[list[Outcome]]] = deque()
    try:
        for _ in range(workers):  # All start now: one that dies while another starts mixes up the other's descriptors.
            pool.submit(os.getpid)
        for chunk in chunks:
            pending.append(pool.submit(_attempt_all, chunk))
            if len(pending) >= CHUNKS_EACH * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
    except BrokenProcessPool as error:
        raise PipelineError(
            "A decoding process was killed, most likely because memory ran out. Lower augment.max_megapixels, "
            "or give fewer cores to the command (taskset -c 0 dvc repro)."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _follow_parent() -> None:
    """Leave Ctrl-C to the parent, and end when it does, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _attempt_all(chunk: _Chunk) -> list[Outcome]:
    return [_attempt(chunk.read, name, chunk.limit, chunk.canvas) for name in chunk.names]


def _attempt(read: Reader, name: str, limit: int, canvas: Canvas) -> Outcome:
    try:
        return decode(read(name, limit), canvas)
    except RejectedError as error:
        return _without_frames(error)


def _without_frames(error: RejectedError) -> RejectedError:
    """The same without its traceback, which would keep the image in memory."""
    return RejectedError(error.kind, error.detail)


Content = bytes | Image.Image | RejectedError


def _read_here(read: Reader, name: str, limit: int) -> Content:
    try:
        return read(name, limit)
    except RejectedError as error:
        return _without_frames(error)


def _hand_over(contents: Mapping[str, Content], name: str, limit: int) -> bytes | Image.Image:
    """A reader of what the parent process has read."""
    content = contents[name]
    if isinstance(content, RejectedError):
        raise content
    return content
