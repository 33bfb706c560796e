"""The common part of tasks that ask questions with a fixed choice of answers: how answers are graded."""

from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline.types import StepOutput

__all__ = ["graded"]


def graded(logits: Tensor, answers: Tensor) -> StepOutput:
    """Return the mean cross-entropy in nats, log K at chance, and the share of right answers.

    Args:
        logits: Logits (N, Q, K) of the K answers to each of an image's Q questions.
        answers: Right answers (N, Q) int64, from 0 to K - 1.

    Examples:
        >>> import torch
        >>> logits = torch.tensor([[[4.0, 0.0]], [[4.0, 0.0]]])  # two images, a question each, two answers
        >>> loss, metrics, _ = graded(logits, torch.tensor([[0], [1]]))
        >>> metrics["pretext_accuracy"].item()
        0.5
    """
    logits = logits.float()
    loss = F.cross_entropy(logits.flatten(0, 1), answers.flatten())
    accuracy = (logits.argmax(dim=2) == answers).float().mean()
    return StepOutput(loss, {"pretext_accuracy": accuracy.detach()})
