"""Images of several requests become one batch."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.generic]
Rows = npt.NDArray[np.float32]


class Batcher:
    """Gives the images of concurrent requests to a model together.

    While the model is at work, images gather. When it is idle, the first one waits some milliseconds for those that are
    on their way, and for none if there are none. How many images can wait is bounded by whoever calls.

    Args:
        compute: What makes rows (n, D) of n images of any sizes; it runs in a thread.
        batch: Images in a batch, at most.
        wait: Seconds that a batch waits for further images.
        coming: What says whether images are on their way.
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
        """Make batches until this is cancelled."""
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
                if isinstance(
                    row, Exception
                ):  # whatever it is, it is the request's own to tell; the next batch goes on
                    future.set_exception(row)
                else:
                    future.set_result(row)

    def _rows(self, images: Sequence[Pixels]) -> Sequence[Rows | Exception]:
        """Return the row of each image, or why there is none: one image's fault is not that of others in its batch."""
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
