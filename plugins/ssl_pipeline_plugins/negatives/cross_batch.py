"""Cross-batch memory: embeddings of past steps also serve as negatives, because the encoder drifts slowly.

Source: Wang et al. 2020 (XBM, 1912.06798), algorithm 1.
"""

from collections.abc import Mapping

import torch

from ssl_pipeline import hookimpl
from ssl_pipeline.health.negatives import stale_keys, staleness
from ssl_pipeline.parts.memory import KeyMemory
from ssl_pipeline.types import Candidates, Finding, Kept, Negatives, NegativeStrategy, Register, Step


class CrossBatch(NegativeStrategy):
    """The keys of the batch, and keys of past steps, which carry no gradient.

    Args:
        memory_size: Number of keys of past steps that are kept, at least 1.
        start: Share of the training, in [0, 1), after which keys are kept. Early on, embeddings drift fast.
    """

    remedy = "Raise pretrain.negatives: {memory_size: ...}, or pretrain.batch_size."

    def __init__(self, *, memory_size: int, start: float = 0.05):
        super().__init__()
        if not 0 <= start < 1:
            raise ValueError(f"start must lie in [0, 1), got {start}")
        self.memory = KeyMemory(memory_size)
        self._start = start

    def select(self, candidates: Candidates) -> Negatives:
        """Return the keys of the batch and of the memory, each with the id of its image."""
        keys, samples = candidates.keys, candidates.key_samples
        kept = {"keys": keys.detach(), "samples": samples}
        figures = {}
        if candidates.step.measured:
            figures["key_staleness"] = staleness(keys, samples, *self.memory.recall_oldest(len(keys)))
        remembered, remembered_samples = self.memory.recall()
        if len(remembered):
            keys = torch.cat([keys, remembered.to(keys.dtype)])
            samples = torch.cat([samples, remembered_samples])
        return candidates.negatives(keys, samples, figures=figures, kept=kept)

    def after_step(self, step: Step, kept: Kept) -> None:
        """Add the keys of the step to the memory."""
        if step.done >= self._start:
            self.memory.remember(kept["keys"], kept["samples"])

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report keys that are too old to compare with."""
        return stale_keys(figures, "memory_size")


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `cross_batch`."""
    register("cross_batch", CrossBatch)
