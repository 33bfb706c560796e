"""Reading images that are sent to a program as bytes: one by one, in other processes, for several threads at once."""

import functools
import queue
from multiprocessing.connection import wait
from typing import Any

from ssl_pipeline.data.chunk import Chunk
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.data.parallel import file_limit, limits_of
from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.data.workers import Worker
from ssl_pipeline.embeddings.reading import Picture, picture_of

__all__ = ["Uploads"]


class Uploads:
    """Pool of processes that read images with the reader of `ingest`; one that exceeds a limit or dies is replaced.

    Args:
        canvas: Settings for reading: the background of transparent pixels, the conversion of values, and limits.
        spec: Images that the model takes; others are rejected.
        workers: Largest number of processes, each started when first needed, and of threads that can read at once.
    """

    def __init__(self, canvas: Canvas, spec: ImageSpec, workers: int):
        self._limits, self._most = limits_of(canvas), file_limit(canvas)
        self._work = functools.partial(picture_of, canvas, spec)
        self._idle: queue.LifoQueue[Worker | None] = queue.LifoQueue()  # last in, first out: few stay busy
        for _ in range(workers):
            self._idle.put(None)
        self._workers = workers

    def read(self, content: bytes) -> Picture | RejectedError:
        """Read one image, waiting for a process if all are busy.

        Args:
            content: Bytes of a file.

        Raises:
            PipelineError: The process was killed from outside, for example by the system when memory ran out.
        """
        if len(content) > self._most:
            return RejectedError("too large", f"more than {self._most:,} bytes")
        chunk = Chunk([""], functools.partial(_given, content), self._work)
        worker, kept = self._idle.get(), None
        try:
            if worker is not None and not worker.process.is_alive():  # it was killed while idle
                worker.end()
                worker = None
            worker = worker or Worker(self._limits)
            worker.take(chunk)
            while not chunk.done:
                wait([worker.pipe])
                if not worker.receive():
                    worker.bury(self._limits)
                    break
            else:
                kept = worker
        finally:
            if worker is not None and kept is None:
                worker.end()
            self._idle.put(kept)
        (found,) = chunk.take()
        assert isinstance(found, Picture | RejectedError)
        return found

    def close(self) -> None:
        """End the processes, each after it has finished its image."""
        for _ in range(self._workers):
            worker = self._idle.get()
            if worker is not None:
                worker.end()
        for _ in range(self._workers):
            self._idle.put(None)


def _given(content: bytes, name: str) -> Any:
    del name
    return content
