"""Signs of trouble: how the embeddings of a fixed batch of images spread, and what ends a run."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.augment.views import make_views
from ssl_pipeline.data.store import Split
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.health.embeddings import alignment, effective_rank, embedding_std, uniformity
from ssl_pipeline.randomness import hash64
from ssl_pipeline.training.precision import Precision

__all__ = ["CollapsedError", "DivergedError", "Probe", "refuse_non_finite"]

PROBE_IMAGES = 256


class DivergedError(PipelineError):
    """The run has blown up; going on from here makes no sense."""


class CollapsedError(PipelineError):
    """The run has collapsed; whether to go on from here is for its owner to say."""


class Probe:
    """A fixed batch of training images, two fixed views of each, on which an encoder is looked at now and then.

    Args:
        pool: The training images; 256 of them are taken, or all where there are fewer.
        kind: The kind of view.
        policy: What that kind is.
        seed: The run's.
        precision: In which the encoder computes.
        batch_size: Views that are encoded at once, so that looking needs no more memory than training.
    """

    def __init__(self, pool: Split, kind: str, policy: Policy, seed: int, precision: Precision, batch_size: int):
        self._pool, self._kind, self._policy, self._seed = pool, kind, policy, seed
        self._precision = precision
        self._positions = np.argsort(hash64(seed, pool.ids, "probe"), kind="stable")[:PROBE_IMAGES]
        self._batch_size = batch_size

    @torch.no_grad()
    def measure(self, encoder: nn.Module) -> dict[str, float]:
        """Embedding std, effective rank, alignment and uniformity of the encoder, which is in eval mode meanwhile."""
        with _evaluating(encoder):
            pairs = torch.cat([self._embed(encoder, part) for part in self._parts()])  # (n, 2, D)
        first, second = pairs.float().cpu().numpy().swapaxes(0, 1)
        both = np.concatenate([first, second])
        return {
            "embedding_std": embedding_std(both),
            "effective_rank": effective_rank(both),
            "alignment": alignment(first, second),
            "uniformity": uniformity(both),
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
    """Eval mode, and afterwards each submodule's own mode again: a task may keep some of them frozen."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, mode in modes:
            child.training = mode


def refuse_non_finite(step: int, loss: float, gradient_norm: float, fp16: bool) -> None:
    """End a run whose loss or gradient is NaN or infinite.

    Args:
        step: For the message.
        loss: The loss of this step.
        gradient_norm: The norm of this step's gradients, before clipping.
        fp16: Whether a `GradScaler` is at work, which skips steps with infinite gradients and may go on.

    Raises:
        DivergedError: With likely causes.
    """
    if math.isfinite(loss) and (fp16 or math.isfinite(gradient_norm)):
        return
    raise DivergedError(
        f"step {step}: the loss is {loss:g} and the norm of its gradient {gradient_norm:g}.\n"
        "Most likely the learning rate is too high: lower pretrain.optimizer.learning_rate, lengthen "
        "pretrain.warmup_epochs, or set pretrain.clip_norm (1.0 is usual). Other causes: a very small temperature "
        "(pretrain.loss), or the format of the numbers (pretrain.precision: fp32 has the finest steps).\n"
        "The run's checkpoints are removed: going on from them would lead here again."
    )
