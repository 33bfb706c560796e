"""State that all requests share: the models, the index, the decoding processes and the batches."""

import asyncio
import contextlib
import json
from collections import Counter, deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from batching import Batcher, Rows
from bodies import Refused, Upload
from settings import Settings

from ssl_pipeline.data.remarks import RejectedError
from ssl_pipeline.embeddings.reading import Picture, canvas_of
from ssl_pipeline.embeddings.uploads import Uploads
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.neighbours import check_finite, nearest, unit
from ssl_pipeline.runtime import Backbone

WAITING_BYTES = 2**28
"""Limit in bytes on decoded images that wait for the model; beyond it, no further image is decoded. Images that are
being decoded, one per process, may exceed it."""
REMEMBERED = 1000
"""Number of requests per endpoint whose latency is kept."""
STATUSES = {"too large": 413, "not an image": 415, "not supported": 415}
"""Reason for refusing an image -> HTTP status code; all other reasons give 422."""


class Outcome(NamedTuple):
    """Description of an image in the answer, and its row from the model."""

    about: dict[str, Any]
    row: Rows


class Service:
    """State that all requests share.

    Args:
        settings: Files to serve, and limits of requests.

    Raises:
        PipelineError: A file is missing, is of another kind, or does not belong to the model.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self.backbone = self._open(settings.model, "embedding")
        self.classifier = self._open_classifier() if settings.classifier else None
        self.paths, self.bank = self._read_index() if settings.index else ([], None)
        canvas = canvas_of(self.backbone.images, self.backbone.metadata, settings.max_megapixels)
        self._uploads = Uploads(canvas, self.backbone.images, settings.decoders)
        self._threads = ThreadPoolExecutor(settings.decoders)
        self._slots = asyncio.Semaphore(settings.decoders)
        self._search = ThreadPoolExecutor(1)
        self.embed = self._batcher(self.backbone)
        self.classify = self._batcher(self.classifier) if self.classifier else None
        self.in_flight = self._coming = self._waiting_bytes = 0
        self._room = asyncio.Condition()
        self.answers: Counter[int] = Counter()
        self.seconds: dict[str, deque[float]] = {}

    def _open(self, path: Path, output: str) -> Backbone:
        settings = self.settings
        return Backbone(path, settings.threads, output, settings.provider, settings.max_megapixels)

    def _open_classifier(self) -> Backbone:
        settings = self.settings
        classifier = self._open(settings.classifier, "probabilities")
        if classifier.images != self.backbone.images:
            raise PipelineError(
                f"{settings.classifier} and {settings.model} take different kinds of images: name files of one run."
            )
        # a probe shares the backbone's weights; a fine-tuned classifier shares only its training images
        shared = "data_sha256" if "labels_per_class" in classifier.metadata else "weights_sha256"
        if classifier.metadata.get(shared) != self.backbone.metadata.get(shared):
            raise PipelineError(
                f"{settings.classifier} was not made with {settings.model} ({shared} differs): name files of one run."
            )
        return classifier

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the classifier's probabilities."""
        assert self.classifier is not None
        names: list[str] = json.loads(self.classifier.metadata["classes"])
        return names

    def _read_index(self) -> tuple[list[str], Rows]:
        from ssl_pipeline.embeddings.table import Index  # needs pyarrow

        with Index(self.settings.index) as index:
            if index.about.model_sha256 != self.backbone.sha256:
                raise PipelineError(
                    f"{self.settings.index} was not made with {self.settings.model}, and embeddings of two models "
                    "cannot be compared: embed the images again."
                )
            parts = list(index.rows())
        bank = np.concatenate([rows for _, rows in parts]) if parts else np.empty((0, self.backbone.dim), np.float32)
        check_finite(bank)
        return [path for paths, _ in parts for path in paths], unit(bank)

    def _batcher(self, model: Backbone) -> Batcher:
        return Batcher(model, self.settings.batch, self.settings.wait_ms / 1000, lambda: self._coming > 0)

    @contextlib.asynccontextmanager
    async def running(self, app: object) -> AsyncIterator[None]:
        """Process batches until the server has answered all requests in flight."""
        workers = [asyncio.create_task(batcher.work()) for batcher in (self.embed, self.classify) if batcher]
        try:
            await self._start_decoders()
            yield
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.to_thread(self._uploads.close)

    async def _start_decoders(self) -> None:
        """Start the decoding processes before the first request, which would otherwise wait a second for them."""
        loop, empty = asyncio.get_running_loop(), [b""] * self.settings.decoders
        await asyncio.gather(*(loop.run_in_executor(self._threads, self._uploads.read, content) for content in empty))

    async def outcomes(self, uploads: list[Upload], batcher: Batcher) -> list[Outcome]:
        """Decode images, and run a model on them in batches with those of other requests.

        Raises:
            Refused: Some of the images cannot be used.
        """
        found = await asyncio.gather(*(self._outcome(upload, batcher) for upload in uploads))
        if refused := {number: found for number, found in enumerate(found) if isinstance(found, RejectedError)}:
            status = STATUSES.get(next(iter(refused.values())).kind, 422)
            listed = [{"name": uploads[number].name, "reason": str(why)} for number, why in refused.items()]
            raise Refused(status, f"{len(refused)} of {len(uploads)} images cannot be used.", listed)
        return [outcome for outcome in found if isinstance(outcome, Outcome)]

    async def _outcome(self, upload: Upload, batcher: Batcher) -> Outcome | RejectedError:
        self._coming += 1
        try:
            picture = await self._read(upload)
        finally:
            self._coming -= 1
        if isinstance(picture, RejectedError):
            return picture
        height, width = picture.pixels.shape[:2]
        try:
            row = await batcher(picture.pixels)
        finally:
            self._waiting_bytes -= picture.pixels.nbytes
            async with self._room:
                self._room.notify_all()
        if not np.isfinite(row).all():  # for example, its values are not; JSON cannot represent it
            return RejectedError("broken", "the model's output for it is not finite")
        return Outcome({"name": upload.name, "width": width, "height": height, "sha256": picture.sha256}, row)

    async def _read(self, upload: Upload) -> Picture | RejectedError:
        """Decode an image once a process and memory are free; from then on, its bytes count as waiting."""
        async with self._slots:  # only tasks with a process check for memory, or all would find it free at once
            async with self._room:
                await self._room.wait_for(lambda: self._waiting_bytes < WAITING_BYTES)
            loop = asyncio.get_running_loop()
            picture = await loop.run_in_executor(self._threads, self._uploads.read, upload.content)
            if not isinstance(picture, RejectedError):
                self._waiting_bytes += picture.pixels.nbytes
            return picture

    async def neighbours(self, rows: Rows, k: int) -> list[list[dict[str, Any]]]:
        """Return the images of the index nearest to each embedding (n, D), nearest first; one search runs at a time."""
        return await asyncio.get_running_loop().run_in_executor(self._search, self._nearest, rows, k)

    def _nearest(self, rows: Rows, k: int) -> list[list[dict[str, Any]]]:
        assert self.bank is not None
        cosines, places = nearest(self.bank, rows, min(k, len(self.bank)), scaled=True)
        order = np.lexsort((places, -cosines))
        return [
            [
                {"path": self.paths[place], "similarity": float(min(1, cosine))}
                for cosine, place in zip(some[mine], numbers[mine], strict=True)
            ]
            for some, numbers, mine in zip(cosines, places, order, strict=True)
        ]
