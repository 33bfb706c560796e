"""Monitoring of the embeddings of a fixed batch of images."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.data.store import Split
from ssl_pipeline.health.embeddings import alignment, effective_rank, embedding_std, uniformity, view_recall
from ssl_pipeline.randomness import hash64
from ssl_pipeline.training.precision import Precision

__all__ = ["WATCHED_IMAGES", "EmbeddingWatch"]

WATCHED_IMAGES = 256
_MAX_KEPT_VALUES = 2**24
"""Largest number of values (64 MB) of views that are kept for the next measurement; more are made again each time."""


class EmbeddingWatch:
    """A fixed batch of images with two fixed views each, on which an encoder is measured during training.

    Args:
        pool: The images.
        kind: The kind of view.
        seed: The seed of the run.
        precision: The precision in which the encoder computes.
        batch_size: Number of views to encode at once, so that measuring needs no more memory than training.
        images: Number of images to use; all of them if the pool has fewer.
    """

    def __init__(
        self,
        pool: Split,
        kind: str,
        seed: int,
        precision: Precision,
        batch_size: int,
        images: int = WATCHED_IMAGES,
    ):
        self._pool, self._kind, self._seed = pool, kind, seed
        self._precision = precision
        self._positions = np.argsort(hash64(seed, pool.ids, "probe"), kind="stable")[:images]
        self._batch_size = batch_size
        self._kept_size, self._kept = 0, list[Tensor]()

    @torch.no_grad()
    def embeddings(self, encoder: nn.Module, policy: Policy) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return the embeddings (n, D) of the first and of the second view of each image, computed in eval mode.

        Args:
            encoder: The encoder; the training mode of each submodule is restored afterwards.
            policy: The policy of the views.
        """
        with _evaluating(encoder):
            pairs = torch.cat([self._embed(encoder, views) for views in self._views(policy)])  # (n, 2, D)
        first, second = pairs.float().cpu().numpy().swapaxes(0, 1)
        return first, second

    def measure(self, encoder: nn.Module, policy: Policy) -> dict[str, float]:
        """Return the measures of `ssl_pipeline.health.embeddings` for the encoder's embeddings in eval mode.

        Args:
            encoder: The encoder.
            policy: The policy of the views, at the present training size, for which running statistics are valid.
        """
        first, second = self.embeddings(encoder, policy)
        both = np.concatenate([first, second])
        return {
            "embedding_std": embedding_std(both),
            "effective_rank": effective_rank(both),
            "alignment": alignment(first, second),
            "uniformity": uniformity(both),
            "view_recall": view_recall(first, second),
        }

    def _parts(self) -> list[np.ndarray]:
        size = max(1, self._batch_size // 2)
        return [self._positions[start : start + size] for start in range(0, len(self._positions), size)]

    def _views(self, policy: Policy) -> Iterable[Tensor]:
        """Return the views (n, 2, C, S, S) of each part; they are fixed for a size, and kept if they are small."""
        values = 2 * len(self._positions) * self._pool.spec.channels * policy.size**2
        made = (self._made(part, policy) for part in self._parts())
        if values > _MAX_KEPT_VALUES:
            return made
        if self._kept_size != policy.size:
            self._kept_size, self._kept = policy.size, list(made)
        return self._kept

    def _made(self, positions: np.ndarray, policy: Policy) -> Tensor:
        images = torch.from_numpy(self._pool.images(positions)).to(self._precision.device)
        ids = self._pool.ids[positions]
        views = make_views({self._kind: policy}, {self._kind: 2}, images, ids, self._seed, 0, self._pool.spec)
        return views[self._kind]

    def _embed(self, encoder: nn.Module, views: Tensor) -> Tensor:
        with self._precision.autocast():
            embeddings: Tensor = encoder(views.flatten(0, 1))
        return embeddings.reshape(len(views), 2, -1)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to eval mode within the block, then restore each submodule's mode: a task may keep some frozen."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes:  # parents come first: children that they switch are corrected afterwards
            child.train(mode)
