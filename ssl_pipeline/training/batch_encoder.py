"""From the places of a batch's images to what is compared: canvases, views, embeddings."""

from collections.abc import Mapping
from contextlib import AbstractContextManager

import numpy as np
import numpy.typing as npt

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.data.store import Split
from ssl_pipeline.randomness import hash64
from ssl_pipeline.training.batch_inputs import inputs
from ssl_pipeline.training.batches import Batch, Place, on_device
from ssl_pipeline.training.micro_batches import MicroBatches
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.run import seed_torch
from ssl_pipeline.training.view_sizes import ViewSizes
from ssl_pipeline.types import Encoded, PretextTask, Step

__all__ = ["BatchEncoder", "in_float32"]


class BatchEncoder:
    """Makes the views of a run's batches, and encodes them.

    Args:
        task: The task, on its device.
        pool: The training images.
        sizes: The sizes of views over the run.
        seed: The seed of the run.
        precision: The device and the precision of the forward pass.
        at_once: The most images that are encoded at once.
    """

    def __init__(self, task: PretextTask, pool: Split, sizes: ViewSizes, seed: int, precision: Precision, at_once: int):
        self._task, self._pool, self._sizes, self._seed = task, pool, sizes, seed
        self._precision, self._at_once = precision, at_once
        self._micro_batches = MicroBatches(task, at_once, precision.device)

    def make(self, place: Place) -> Batch:
        """Make what can be made ahead of a step: views and ids, or ids alone where views are made in parts."""
        if len(place.positions) > self._at_once:
            ids = self._pool.ids[place.positions].view(np.int64)  # torch has few operations on uint64
            return Batch({}, on_device(ids, self._precision.device))
        return self._made(place)

    def encode(self, place: Place, batch: Batch, step: Step) -> Encoded:
        """Encode a batch: name -> (N, ...) at least float32, with a graph.

        Args:
            place: Which batch it is.
            batch: What `make` has made of it.
            step: The step that it is for.
        """

        def encode(positions: npt.NDArray[np.int64], first: int) -> Encoded:
            later = [first] if first else []
            seed_torch(int(hash64(self._seed, "step", step.number, *later)), self._precision.device)  # for dropout
            views = batch.views or self._made(place._replace(positions=positions)).views
            with self._precision.autocast():  # views: kind -> (n, V, C, s, s) in [0, 1]
                return in_float32(self._task(views))

        return self._micro_batches.encode(encode, place.positions, self._policies(place)[self._task.views.main].size)

    def unchanged_buffers(self) -> AbstractContextManager[None]:
        """Return the context of the backward pass, which may encode some images again."""
        return self._micro_batches.unchanged_buffers()

    def _policies(self, place: Place) -> Mapping[str, Policy]:
        return self._sizes.at(place.step)

    def _made(self, place: Place) -> Batch:
        device, ids = self._precision.device, self._pool.ids[place.positions]
        images = on_device(self._pool.images(place.positions), device)  # (n, S, S, C), S the side of a canvas
        policies = self._policies(place)
        views = inputs(self._task, policies, images, ids, self._seed, place.epoch, self._pool.spec)
        return Batch(views, on_device(ids.view(np.int64), device))


def in_float32(encoded: Encoded) -> Encoded:
    """Return what an autocast forward pass gave, in the precision in which samples are compared."""
    return {name: value.float() if value.is_floating_point() else value for name, value in encoded.items()}
