"""Errors that end a run early: collapse, and losses or gradients that are not finite."""

import math

from ssl_pipeline.errors import PipelineError

__all__ = ["CollapsedError", "DivergedError", "refuse_non_finite"]

LATER = (
    "Most likely the learning rate is too high: lower pretrain.optimizer.learning_rate, lengthen pretrain.warmup, or "
    "set pretrain.clip_norm (1.0 is usual). Other causes:"
)
AT_ONCE = (
    "No weights have been updated yet, so the learning rate is not the cause. Most likely the loss or the pretext task "
    "computes 0/0, log(0) or the gradient of a root at 0: test it with ssl_pipeline.testing. Other causes: initial "
    "weights that are not finite (pretrain.init),"
)
"""Likely causes in step 0, whose loss is that of the initial weights."""


class DivergedError(PipelineError):
    """The run has diverged; resuming it makes no sense."""


class CollapsedError(PipelineError):
    """The run has collapsed; the user decides whether to resume it."""


def refuse_non_finite(step: int, loss: float, gradient_norm: float, fp16: bool) -> None:
    """Raise an error if the loss or the gradient of a step is NaN or infinite.

    Args:
        step: The number of the step, for the message.
        loss: The loss of this step.
        gradient_norm: The norm of this step's gradient, before clipping.
        fp16: Whether a `GradScaler` is used, which skips steps with infinite gradients and can continue.

    Raises:
        DivergedError: The loss or the gradient is not finite; the message names likely causes.
    """
    if math.isfinite(loss) and (fp16 or math.isfinite(gradient_norm)):
        return
    likely = AT_ONCE if step == 0 else LATER
    raise DivergedError(
        f"step {step}: the loss is {loss:g} and the norm of its gradient {gradient_norm:g}.\n{likely} a very small "
        "temperature (pretrain.loss), or too little precision (pretrain.precision: fp32 is the most precise).\n"
        "The run's checkpoints are removed: resuming from them would lead to the same error."
    )
