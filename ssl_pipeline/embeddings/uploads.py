"""Images whose bytes are sent to a program: read one by one in other processes, for several threads at a time."""

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
    """Reads images by the reader of `ingest`, in processes that are ended where an image takes too much, or kills one.

    Args:
        canvas: The background of transparent pixels, what is kept of values, and which images are refused.
        spec: What the model takes; other images are rejected.
        workers: Processes, at most; each is started when it is first needed. As many threads can read at a time.
    """

    def __init__(self, canvas: Canvas, spec: ImageSpec, workers: int):
        self._limits, self._most = limits_of(canvas), file_limit(canvas)
        self._work = functools.partial(picture_of, canvas, spec)
        self._idle: queue.LifoQueue[Worker | None] = queue.LifoQueue()  # which keeps as few as possible at work
        for _ in range(workers):
            self._idle.put(None)
        self._workers = workers

    def read(self, content: bytes) -> Picture | RejectedError:
        """Read one image; wait for a process where all are at work.

        Args:
            content: The bytes of a file.

        Raises:
            PipelineError: The process was killed from outside, as the system does where memory runs out.
        """
        if len(content) > self._most:
            return RejectedError("too large", f"more than {self._most:,} bytes")
        chunk = Chunk([""], functools.partial(_given, content), self._work)
        worker, kept = self._idle.get(), None
        try:
            if worker is not None and not worker.process.is_alive():  # it was killed when it had no image
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
        """End the processes, each when it is done with its image."""
        for _ in range(self._workers):
            worker = self._idle.get()
            if worker is not None:
                worker.end()
        for _ in range(self._workers):
            self._idle.put(None)


def _given(content: bytes, name: str) -> Any:
    del name
    return content
