"""W-MSE: compare views after whitening, which rules out that all embeddings are alike.

Source: Ermolov et al. 2021 (2007.06346), equations 3 to 6.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.health.projections import outweighed
from ssl_pipeline.types import Finding, Register, Step, StepOutput, ViewLoss


class WMSE(ViewLoss):
    """Mean of 2 - 2 cos between two views of an image, after whitening the projections of each view separately.

    Args:
        sub_batch: Number of images that are whitened together; use twice the length of a projection. Images that do not
            fill a sub-batch are left out. With 0, the whole batch is whitened together.
        shrinkage: Share of the identity matrix in the covariance, in [0, 1).
    """

    remedy = "Lower pretrain.loss: {shrinkage: ...}, which weakens the whitening; 0 to 0.1 is usual."

    def __init__(self, *, sub_batch: int = 0, shrinkage: float = 0.0):
        super().__init__()
        if sub_batch < 0:
            raise ValueError(f"sub_batch must be at least 0, got {sub_batch}")
        if not 0 <= shrinkage < 1:
            raise ValueError(f"shrinkage must lie in [0, 1), got {shrinkage}")
        self.sub_batch, self.shrinkage = sub_batch, shrinkage

    def forward(self, predictions: Tensor, targets: Tensor, step: Step) -> StepOutput:
        """Return the mean loss over pairs of a target (T, N, D) and a later view (V, N, D).

        Raises:
            ConfigError: A covariance cannot be inverted: there are no more images than dimensions, or all are alike.
        """
        first, second = (F.normalize(self._whitened(views, step), dim=2) for views in (targets, predictions))
        cosine = torch.einsum("tnd,vnd->tv", first, second) / first.shape[1]
        later = torch.cat([row[target + 1 :] for target, row in enumerate(cosine)])
        return StepOutput(2 - 2 * later.mean(), {})

    def _whitened(self, views: Tensor, step: Step) -> Tensor:
        """Return whitened views (V, M, D) of (V, N, D), for the M images that fill sub-batches."""
        images, dim = views.shape[1:]
        size = min(self.sub_batch or images, images)
        if size <= dim and not self.shrinkage:
            raise ConfigError(
                f"pretrain.loss 'w_mse': {size} images are whitened together, and have {dim} dimensions. Raise "
                "pretrain.batch_size or the loss's sub_batch to twice as many, lower pretrain.pretext_task: {out_dim: "
                "...}, or set the loss's shrinkage."
            )
        parts = widened(views)[:, : images // size * size].reshape(len(views), -1, size, dim)
        centred = parts - parts.mean(dim=2, keepdim=True)
        covariance = centred.mT @ centred / (size - 1)
        identity = torch.eye(dim, dtype=covariance.dtype, device=covariance.device)
        root, failed = torch.linalg.cholesky_ex((1 - self.shrinkage) * covariance + self.shrinkage * identity)
        if step.measured and failed.any():  # other steps do not wait for the device; their loss is NaN
            raise ConfigError(
                "pretrain.loss 'w_mse': the projections of a batch vary in fewer directions than they have "
                "dimensions, and cannot be whitened. Set the loss's shrinkage, such as 0.1, lower "
                "pretrain.pretext_task: {out_dim: ...}, or lower pretrain.optimizer.learning_rate."
            )
        root = root.masked_fill((failed > 0)[..., None, None], torch.nan)
        whitened: Tensor = torch.linalg.solve_triangular(root, centred.mT, upper=False)
        return whitened.mT.flatten(1, 2)

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report dimensions that vary together because they are hardly whitened."""
        return outweighed(figures, 1 - self.shrinkage, 1.0, self.dim, self.remedy)


@hookimpl
def register_losses(register: Register) -> None:
    """Add `w_mse`."""
    register("w_mse", WMSE)
