"""Combining images of several requests in one batch."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.generic]
Rows = npt.NDArray[np.float32]


class Batcher:
    """Queue that passes images of concurrent requests to a model in batches.

    Images queue up while the model is busy. When it is idle, the first image waits a few milliseconds for others, but
    only if others are on their way. The caller bounds the number of waiting images.

    Args:
        compute: Function from n images of any sizes to rows (n, D); it runs in a thread.
        batch: Largest number of images in a batch.
        wait: Time in s that a batch waits for more images.
        coming: Function that returns whether images are on their way.
    """

    def __init__(
        self, compute: Callable[[Sequence[Pixels]], Rows], batch: int, wait: float, coming: Callable[[], bool]
    ):
        self._compute, self._batch, self._wait, self._coming = compute, batch, wait, coming
        self._queue: asyncio.Queue[tuple[Pixels, asyncio.Future[Rows]]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1)
        self.batches = self.images = self.largest = 0

    async def __call__(self, image: Pixels) -> Rows:
        """Return the row (D,) of an image."""
        future: asyncio.Future[Rows] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((image, future))
        return await future

    async def work(self) -> None:
        """Process batches until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            images, futures = map(list, zip(*await self._gather(), strict=True))
            self.batches, self.images = self.batches + 1, self.images + len(images)
            self.largest = max(self.largest, len(images))
            try:
                found: Sequence[Rows | Exception] = await loop.run_in_executor(self._thread, self._rows, images)
            except Exception as error:
                found = [error] * len(futures)
            for future, row in zip(futures, found, strict=True):
                if future.done():  # a client may have left
                    continue
                if isinstance(row, Exception):  # its request reports it; the next batch is unaffected
                    future.set_exception(row)
                else:
                    future.set_result(row)

    def _rows(self, images: Sequence[Pixels]) -> Sequence[Rows | Exception]:
        """Return the row of each image or its error, so that one bad image does not affect the rest of its batch."""
        try:
            return list(self._compute(images))
        except Exception as error:
            if len(images) == 1:
                return [error]
        return [self._rows([image])[0] for image in images]

    async def _gather(self) -> list[tuple[Pixels, "asyncio.Future[Rows]"]]:
        batch = [await self._queue.get()]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._wait):
                while len(batch) < self._batch and (self._coming() or not self._queue.empty()):
                    batch.append(await self._queue.get())
        while len(batch) < self._batch and not self._queue.empty():
            batch.append(self._queue.get_nowait())
        return batch
