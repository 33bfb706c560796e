"""Cross-batch memory: embeddings of past steps are negatives too, since the encoder drifts slowly.

Source: Wang et al. 2020 (XBM, 1912.06798), algorithm 1.
"""

from collections.abc import Mapping

import torch

from ssl_pipeline import hookimpl
from ssl_pipeline.health.negatives import stale_keys, staleness
from ssl_pipeline.parts.memory import KeyMemory
from ssl_pipeline.types import Candidates, Finding, Negatives, NegativeStrategy, Register


class CrossBatch(NegativeStrategy):
    """The batch's own keys, and those of past steps, which have no gradient.

    Args:
        memory_size: Keys of past steps that are kept, at least 1.
        start: Share of the training in [0, 1) after which they count: early on, embeddings drift fast.
    """

    remedy = "Raise pretrain.negatives: {memory_size: ...}, or pretrain.batch_size."

    def __init__(self, memory_size: int, start: float = 0.05):
        super().__init__()
        if not 0 <= start < 1:
            raise ValueError(f"start must lie in [0, 1), got {start}")
        self.memory = KeyMemory(memory_size)
        self._start = start

    def select(self, candidates: Candidates) -> Negatives:
        """Keys of other samples, and remembered ones, whose samples are taken to be others."""
        keys, key_samples, images = candidates.keys, candidates.key_samples, candidates.key_images
        self.memory.set_aside(keys, images)
        figures = {"key_staleness": staleness(keys, key_samples, self.memory.oldest(len(keys)))}
        remembered, remembered_images = self.memory.recall()
        if len(remembered):
            keys = torch.cat([keys, remembered.to(keys.dtype)])
            key_samples = torch.cat([key_samples, key_samples.new_full((len(remembered),), -1)])
            images = None if images is None else torch.cat([images, remembered_images])
        return Negatives(
            keys,
            candidates.anchor_samples,
            key_samples,
            figures=figures,
            anchor_images=candidates.anchor_images,
            key_images=images,
        )

    def after_step(self, progress: float) -> None:
        """Remember the step's keys."""
        if progress >= self._start:
            self.memory.take_in()

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Keys that are too old."""
        return stale_keys(figures, "memory_size")


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `cross_batch`."""
    register("cross_batch", CrossBatch)
