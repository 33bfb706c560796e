"""Similarity distillation: a student learns which images its teacher finds similar to each other.

The keys are the teacher's embeddings of the other images of the batch and of images of past steps. The target is the
teacher's softmax over an image's similarities to the keys, which the student predicts: the loss is the cross-entropy
between the two. Keys never become stale, as the teacher does not change.

Sources: SEED (2101.04731), section 3.2, equations 2 to 5, where the embedding of the image itself is also a key; ReSSL
(2107.09282), section 3.2, equations 3 to 5, where it is not.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import log_mass, widened
from ssl_pipeline.parts.memory import KeyMemory
from ssl_pipeline.types import Finding, Kept, Negatives, Register, Step, StepOutput, TaughtLoss

_AT_ONCE = 2**22  # similarities that enter the teacher's softmax at once: 16 MB in float32
_LEAST_KEYS = 1.1  # fewest keys per image, as the exponential of the softmax's entropy, that still describe relations
_MOST_SHARE = 0.98  # share of all keys, above which the teacher's softmax is too flat to tell them apart


class SimilarityDistillation(TaughtLoss):
    """Cross-entropy, in nats, between the teacher's and the student's softmax over keys, mean over all views.

    Args:
        temperature: Temperature of the student's softmax, greater than 0.
        teacher_temperature: Temperature of the teacher's softmax, greater than 0; below the student's it sharpens.
        queue_size: Number of the teacher's embeddings from past steps that also serve as keys, at least 0.
        own: Whether the teacher's embedding of the image itself is a key: true in SEED, false in ReSSL.
    """

    def __init__(
        self,
        *,
        temperature: float = 0.1,
        teacher_temperature: float = 0.04,
        queue_size: int = 0,
        own: bool = True,
    ):
        super().__init__()
        for name, value in (("temperature", temperature), ("teacher_temperature", teacher_temperature)):
            if value <= 0:
                raise ValueError(f"{name} must be greater than 0, got {value}")
        if queue_size < 0:
            raise ValueError(f"queue_size must be at least 0, got {queue_size}")
        self.temperature, self.teacher_temperature, self.own = temperature, teacher_temperature, own
        self.queue = KeyMemory(queue_size) if queue_size else None

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the loss of predictions (V, N, D) and the teacher's embeddings (T, N, D)."""
        views, sees = len(predictions), len(targets)
        students = F.normalize(widened(predictions), dim=2).flatten(0, 1)  # (VN, D)
        teachers = F.normalize(widened(targets), dim=2).flatten(0, 1)  # (TN, D)
        samples = step.ids.repeat(sees)
        keys, of_keys = teachers, samples
        if self.queue is not None and len(self.queue.held()):
            held, of_held = self.queue.recall()
            keys, of_keys = torch.cat([keys, held.to(keys.dtype)]), torch.cat([of_keys, of_held])
        mean, entropy, count = self._taught(teachers, samples, keys, of_keys)
        own, mean, known = (part.repeat(views // sees, *[1] * (part.ndim - 1)) for part in (teachers, mean, count > 0))
        mass = log_mass(students, Negatives(keys, step.ids.repeat(views), of_keys), 1 / self.temperature)
        if self.own:
            mass = torch.logaddexp(mass, torch.linalg.vecdot(students, own) / self.temperature)
        of_each = mass - torch.linalg.vecdot(students, mean) / self.temperature  # -Σ p_T log p_S, as p_T sums to 1
        loss = torch.where(known, of_each, 0.0).sum() / known.sum().clamp(min=1)
        figures = {"keys_of_an_image": entropy.exp().mean(), "keys": count.float().mean()} if step.measured else {}
        return StepOutput(loss, figures, {"keys": teachers, "samples": samples})

    @torch.no_grad()
    def _taught(
        self, teachers: Tensor, samples: Tensor, keys: Tensor, of_keys: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Summarise the teacher's softmax over keys for each embedding (A, D).

        Returns:
            The mean of the keys (A, D) weighted by the softmax, its entropy (A,) in nats, and the number of keys (A,).
        """
        means, entropies, counts = [], [], []
        rows = max(1, _AT_ONCE // len(keys))
        for start in range(0, len(teachers), rows):
            anchors, own = teachers[start : start + rows], samples[start : start + rows]
            logits = (anchors @ keys.T).div_(self.teacher_temperature)
            strange = own[:, None] != of_keys[None]
            logits.masked_fill_(~strange, -torch.inf)
            of_own = torch.linalg.vecdot(anchors, anchors)[:, None] / self.teacher_temperature
            logits = torch.cat([logits, of_own if self.own else torch.full_like(of_own, -torch.inf)], dim=1)
            shares = logits.softmax(dim=1).nan_to_num(0.0)  # NaN where an image has no key at all
            means.append(shares[:, :-1] @ keys + shares[:, -1:] * anchors)
            entropies.append(torch.special.entr(shares).sum(dim=1))
            counts.append(strange.sum(dim=1) + int(self.own))
        return torch.cat(means), torch.cat(entropies), torch.cat(counts)

    @torch.no_grad()
    def after_step(self, step: Step, kept: Kept) -> None:
        """Add the batch to the queue."""
        if self.queue is not None:
            self.queue.remember(kept["keys"], kept["samples"])

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report a teacher's softmax that carries no information about relations."""
        used, count = figures["keys_of_an_image"], figures["keys"]
        if count < 2 or _LEAST_KEYS <= used <= _MOST_SHARE * count:
            return []
        which, what = ("only one key", "Raise") if used < _LEAST_KEYS else ("all keys equally", "Lower")
        return [
            Finding(
                "no relations taught",
                f"no relations taught: the teacher's softmax finds {which} similar to an image ({used:.2f} of "
                f"{count:.0f} keys, by its entropy). {what} pretrain.loss: {{teacher_temperature: "
                f"{self.teacher_temperature:g}}}.",
            )
        ]


@hookimpl
def register_losses(register: Register) -> None:
    """Add `similarity_distillation`."""
    register("similarity_distillation", SimilarityDistillation)
