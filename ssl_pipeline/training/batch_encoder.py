"""From a batch's positions in the pool to what the loss compares: canvases, views, embeddings."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssl_pipeline.data.store import Split
from ssl_pipeline.randomness import hash64
from ssl_pipeline.training.batch_inputs import inputs
from ssl_pipeline.training.batch_norms import over_all_ranks
from ssl_pipeline.training.batches import Batch, Place, on_device
from ssl_pipeline.training.captions import TokenizedCaptions
from ssl_pipeline.training.micro_batches import MicroBatches
from ssl_pipeline.training.other_frames import OWN_IMAGES, OtherFrames
from ssl_pipeline.training.precision import Precision
from ssl_pipeline.training.run import seed_torch
from ssl_pipeline.training.targets import TeacherTargets
from ssl_pipeline.training.together import ALONE, Ranks
from ssl_pipeline.training.view_sizes import ViewSizes
from ssl_pipeline.types import Encoded, PretextTask, Step, Views

__all__ = ["BatchEncoder", "in_float32"]


class BatchEncoder:
    """A maker and encoder of the views of a run's batches.

    Args:
        task: The task, on its device.
        pool: The training images.
        sizes: The sizes of views over the run.
        seed: The seed of the run.
        precision: The device and the precision of the forward pass.
        at_once: Largest number of images to encode at once. If this is at least the batch size, batch norms see the
            whole batch, whatever share of it each rank encodes.
        ranks: The processes, each of which encodes a share of each batch.
        texts: The captions of the pool, for a task that learns from them.
        frames: The choice of frames that main views are made of.
        targets: The teacher's embeddings, for a task that has a teacher.
    """

    def __init__(
        self,
        task: PretextTask,
        pool: Split,
        sizes: ViewSizes,
        seed: int,
        precision: Precision,
        at_once: int,
        ranks: Ranks = ALONE,
        texts: TokenizedCaptions | None = None,
        frames: OtherFrames = OWN_IMAGES,
        targets: TeacherTargets | None = None,
    ):
        self._task, self._pool, self._sizes, self._seed, self._texts = task, pool, sizes, seed, texts
        self._precision, self._at_once, self._ranks, self._frames = precision, at_once, ranks, frames
        self._targets = targets
        self._micro_batches = MicroBatches(task, at_once, precision.device)

    def make(self, place: Place) -> Batch:
        """Make what a step needs in advance: ids, and this rank's views unless they are made per micro-batch."""
        own = place.positions[self._ranks.share(len(place.positions))]
        views = self._views(place, own) if len(own) <= self._at_once else {}
        shown = self._frames.of(place.positions, place.epoch)
        return Batch(views, self._ids(place.positions), None if shown is None else self._ids(shown))

    def _ids(self, positions: npt.NDArray[np.int64]) -> Tensor:
        ids = self._pool.ids[positions].view(np.int64)  # torch has few operations on uint64
        return on_device(ids, self._precision.device)

    def encode(self, place: Place, batch: Batch, step: Step) -> Encoded:
        """Encode a batch, of which each rank encodes its share.

        Args:
            place: The place of the batch in the run.
            batch: The batch that `make` returned for this place.
            step: The step that the batch is for.

        Returns:
            The encoded whole batch: name -> (N, ...), in float32 or wider, with an autograd graph.
        """
        share = self._ranks.share(len(place.positions))

        def make(positions: npt.NDArray[np.int64]) -> Views:
            return batch.views or self._views(place, positions)

        def encode(views: Views, first: int) -> Encoded:
            self._seed_torch(step, share.start + first)  # for dropout and other random layers
            with self._precision.autocast():  # views: kind -> (n, V, C, s, s) in [0, 1]
                return in_float32(self._task(views))

        side = self._sizes.at(place.step)[self._task.views.main].size
        with self._batch_norms(len(place.positions)):
            encoded = self._micro_batches.encode(make, encode, place.positions[share], side)
        if self._ranks.count > 1:
            self._seed_torch(step, -1)  # from here on, all ranks compute the same
        return self._ranks.gathered(encoded, len(place.positions))

    def pass_through(self, place: Place) -> None:
        """Encode a batch only to update the running statistics of batch norms; each rank encodes its share.

        Dropout and other random layers draw other numbers than in any training step.
        """
        share = self._ranks.share(len(place.positions))
        own = place.positions[share]
        with torch.no_grad(), self._batch_norms(len(place.positions)):
            for number, part in enumerate(np.array_split(own, -(-len(own) // self._at_once))):
                seed = hash64(self._seed, "settle", place.step, share.start, number)
                seed_torch(int(seed), self._precision.device)
                with self._precision.autocast():
                    self._task(self._views(place, part))
        if len(place.positions) > self._at_once:
            self._ranks.average_statistics(self._task)

    def learn_anew(self) -> None:
        """Measure again how much memory the gradient of an image needs, after the set of trained weights changed."""
        self._micro_batches.forget()

    @contextmanager
    def backward(self, place: Place) -> Iterator[None]:
        """Wrap the backward pass, which may encode some images again."""
        with self._micro_batches.unchanged_buffers(), self._batch_norms(len(place.positions)):
            yield
        if len(place.positions) > self._at_once:  # each rank's batch norms have seen its share alone
            self._ranks.average_statistics(self._task)

    def _batch_norms(self, size: int) -> AbstractContextManager[None]:
        """Return the context for batch norms: across ranks if a batch of this size is encoded at once."""
        return over_all_ranks(self._ranks.count if size <= self._at_once else 1)

    def _seed_torch(self, step: Step, row: int) -> None:
        """Seed torch's generators for the part of the batch that begins at a row."""
        later = [row] if row else []
        seed_torch(int(hash64(self._seed, "step", step.number, *later)), self._precision.device)

    def _views(self, place: Place, positions: npt.NDArray[np.int64]) -> Views:
        images = on_device(self._pool.images(positions), self._precision.device)  # (n, S, S, C), S the side of a canvas
        policies, ids = self._sizes.at(place.step), self._pool.ids[positions]
        spec, shown = self._pool.spec, self._frames.canvases(self._pool, positions, place.epoch, images.device)
        told = (spec, self._texts, positions, shown, self._targets)
        return inputs(self._task, policies, images, ids, self._seed, place.epoch, *told)


def in_float32(encoded: Encoded) -> Encoded:
    """Return the results of an autocast forward pass in float32, the precision in which samples are compared."""
    return {name: value.float() if value.is_floating_point() else value for name, value in encoded.items()}
