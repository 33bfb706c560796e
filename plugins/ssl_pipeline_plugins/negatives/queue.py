"""Queue: keys of past steps serve as negatives, so that their number does not depend on the batch size.

With a teacher (`momentum` of the pretext task), keys drift slowly, and old keys stay comparable with new ones. If they
do not, the queue is stale and a finding says so.

Source: MoCo (1911.05722), section 3.2.
"""

from collections.abc import Mapping

from ssl_pipeline import hookimpl
from ssl_pipeline.health.negatives import stale_keys, staleness
from ssl_pipeline.parts.memory import KeyMemory
from ssl_pipeline.types import Candidates, Finding, Kept, Negatives, NegativeStrategy, Register, Step


class Queue(NegativeStrategy):
    """The latest keys of past steps, and none of the batch; the keys of the batch while the queue is empty.

    Args:
        queue_size: Number of keys that are kept, at least 1. Old keys of an image are never negatives of that image.
    """

    remedy = "Raise pretrain.negatives: {queue_size: ...}."

    def __init__(self, *, queue_size: int):
        super().__init__()
        self.memory = KeyMemory(queue_size)

    def select(self, candidates: Candidates) -> Negatives:
        """Return the keys of the queue, each with the id of its image."""
        keys, samples = candidates.keys, candidates.key_samples
        kept = {"keys": keys.detach(), "samples": samples}
        figures = {}
        if candidates.step.measured:
            figures["key_staleness"] = staleness(keys, samples, *self.memory.recall_oldest(len(keys)))
        queued, queued_samples = self.memory.recall()
        if len(queued):
            keys, samples = queued, queued_samples
        return candidates.negatives(keys, samples, figures=figures, kept=kept)

    def after_step(self, step: Step, kept: Kept) -> None:
        """Add the keys of the step to the queue."""
        self.memory.remember(kept["keys"], kept["samples"])

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report keys that are too old to compare with."""
        return stale_keys(figures, "queue_size")


@hookimpl
def register_negatives(register: Register) -> None:
    """Add `queue`."""
    register("queue", Queue)
