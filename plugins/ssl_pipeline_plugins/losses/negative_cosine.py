"""Negative cosine: the prediction of one view should point in the same direction as the target of another view.

This loss alone would collapse. A predictor prevents it, together with targets that carry no gradient or come from a
slower teacher.

Sources: SimSiam (2011.10566), equations 1 to 4; BYOL (2006.07733), equation 2, which is 2 + 2 times this loss.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.parts.multi_crop import of_others
from ssl_pipeline.types import Register, Step, StepOutput, ViewLoss


class NegativeCosine(ViewLoss):
    """Mean of -cos(p, z) over predictions p and targets z of different views of one image.

    Args:
        stop_gradient: Whether targets are detached, so that they carry no gradient. With neither this nor a teacher,
            embeddings collapse.
    """

    least_std = 0.4
    remedy = (
        "To keep this loss from collapsing, use a predictor with a slower teacher (pretrain.pretext_task: "
        "{predictor_dim: 64, momentum: 0.99}), or a predictor with pretrain.loss: {stop_gradient: true}. Too high a "
        "pretrain.optimizer.learning_rate undoes either."
    )

    def __init__(self, *, stop_gradient: bool = True):
        super().__init__()
        self.stop_gradient = stop_gradient

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the mean loss, in [-1, 1], of predictions (V, N, D) and targets (T, N, D)."""
        towards = targets.detach() if self.stop_gradient else targets
        first, second = F.normalize(widened(predictions), dim=2), F.normalize(widened(towards), dim=2)
        cosine = torch.einsum("vnd,tnd->vtn", first, second).mean(dim=2)  # (V, T)
        return StepOutput(-of_others(cosine).mean(), {})


@hookimpl
def register_losses(register: Register) -> None:
    """Add `negative_cosine`."""
    register("negative_cosine", NegativeCosine)
