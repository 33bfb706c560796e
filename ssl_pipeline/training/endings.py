"""What ends a run before its time: collapse, and numbers that are not finite."""

import math

from ssl_pipeline.errors import PipelineError

__all__ = ["CollapsedError", "DivergedError", "refuse_non_finite"]


class DivergedError(PipelineError):
    """The run has blown up; going on from here makes no sense."""


class CollapsedError(PipelineError):
    """The run has collapsed; whether to go on from here is for its owner to say."""


def refuse_non_finite(step: int, loss: float, gradient_norm: float, fp16: bool) -> None:
    """End a run whose loss or gradient is NaN or infinite.

    Args:
        step: The number of the step, for the message.
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
        "pretrain.warmup, or set pretrain.clip_norm (1.0 is usual). Other causes: a very small temperature "
        "(pretrain.loss), or the format of the numbers (pretrain.precision: fp32 has the finest steps).\n"
        "The run's checkpoints are removed: going on from them would lead here again."
    )
