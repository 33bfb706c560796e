"""How the embeddings of a fixed batch of training images spread, now and then."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.data.store import Split
from ssl_pipeline.health.embeddings import alignment, effective_rank, embedding_std, uniformity, view_recall
from ssl_pipeline.randomness import hash64
from ssl_pipeline.training.precision import Precision

__all__ = ["EmbeddingWatch"]

WATCHED_IMAGES = 256


class EmbeddingWatch:
    """A fixed batch of training images, two fixed views of each, on which an encoder is looked at now and then.

    Args:
        pool: The training images; 256 of them are taken, or all where there are fewer.
        kind: The kind of view.
        policy: The policy of that kind.
        seed: The seed of the run.
        precision: The precision in which the encoder computes.
        batch_size: Number of views that are encoded at once, so that looking needs no more memory than training.
    """

    def __init__(self, pool: Split, kind: str, policy: Policy, seed: int, precision: Precision, batch_size: int):
        self._pool, self._kind, self._policy, self._seed = pool, kind, policy, seed
        self._precision = precision
        self._positions = np.argsort(hash64(seed, pool.ids, "probe"), kind="stable")[:WATCHED_IMAGES]
        self._batch_size = batch_size

    @torch.no_grad()
    def measure(self, encoder: nn.Module) -> dict[str, float]:
        """Return figures of `ssl_pipeline.health.embeddings` of the encoder's embeddings, made in eval mode."""
        with _evaluating(encoder):
            pairs = torch.cat([self._embed(encoder, part) for part in self._parts()])  # (n, 2, D)
        first, second = pairs.float().cpu().numpy().swapaxes(0, 1)
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

    def _embed(self, encoder: nn.Module, positions: np.ndarray) -> Tensor:
        images = torch.from_numpy(self._pool.images(positions)).to(self._precision.device)
        ids = self._pool.ids[positions]
        made = make_views({self._kind: self._policy}, {self._kind: 2}, images, ids, self._seed, 0, self._pool.spec)
        with self._precision.autocast():
            embeddings: Tensor = encoder(made[self._kind].flatten(0, 1))
        return embeddings.reshape(len(positions), 2, -1)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Switch to eval mode, and back to each submodule's own mode: a task may keep some of them frozen."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes:
            child.training = mode
