"""Joint embedding without negatives: views of one image agree, and something other than negatives prevents collapse.

Sources: BYOL (2006.07733), section 3; SimSiam (2011.10566), section 3; Barlow Twins (2103.03230), section 2; VICReg
(2105.04906), section 4; a teacher that ships: DINO (2104.14294), section 3.1; many global views:
EMP-SSL (2304.03977), section 2.
"""

from collections.abc import Mapping
from typing import Literal

from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.health.projections import CENTRED_STD, spread_figures, spread_troubles
from ssl_pipeline.parts.embedded_views import EmbeddedViews
from ssl_pipeline.types import Encoded, Encoder, Finding, Kept, Register, Step, StepOutput, ViewLoss


class NonContrastive(EmbeddedViews):
    """Two or more `global` views, and optional `local` ones, whose projections a loss makes agree.

    Args:
        encoder: The encoder to train.
        loss: The loss, which compares views without negatives.
        hidden_dim: Width of the projector's hidden layers.
        out_dim: Length of a projection.
        layers: Number of layers of the projector, at least 2.
        last_norm: Whether a batch normalisation without scale and shift follows the projector's last layer.
        predictor_dim: Width of the hidden layer of a predictor; 0 for no predictor.
        momentum: Momentum, in [0, 1), of a teacher that computes the targets. With 0 there is no teacher, and the
            projections of the views themselves are the targets.
        momentum_rises: Whether the momentum rises to 1 over the training, by a cosine.
        global_views: Number of global views, at least 2.
        local_views: Number of smaller views, of the kind `local`, which do not serve as targets; 0 for none.
        ships: Owner of the encoder and the projector that ship: the student (BYOL) or the teacher (DINO).
    """

    objective = ViewLoss

    def __init__(
        self,
        encoder: Encoder,
        loss: ViewLoss,
        *,
        hidden_dim: int,
        out_dim: int,
        layers: int = 2,
        last_norm: bool = False,
        predictor_dim: int = 0,
        momentum: float = 0.0,
        momentum_rises: bool = True,
        global_views: int = 2,
        local_views: int = 0,
        ships: Literal["student", "teacher"] = "student",
    ):
        if layers < 2:
            raise ValueError(f"layers must be at least 2, got {layers}")
        super().__init__(
            encoder,
            loss,
            projector=[*[hidden_dim] * (layers - 1), out_dim],
            last_norm=last_norm,
            predictor_dim=predictor_dim,
            momentum=momentum,
            momentum_rises=momentum_rises,
            global_views=global_views,
            local_views=local_views,
            ships=ships,
        )
        self.loss = loss
        self.least_std = CENTRED_STD if last_norm and not local_views else loss.least_std

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Compare each view with each other global view of its image."""
        count = len(encoded["embeddings"])

        def of_views(projections: Tensor) -> Tensor:
            return projections.reshape(-1, count, projections.shape[1])  # (V, N, P)

        own = self.projected(encoded)
        targets = of_views(self.taught(encoded) if self.teacher else own[: self.views.count * count])
        loss, metrics, kept = self.loss(of_views(self.predictor(own)), targets, step)
        if not step.measured:
            return StepOutput(loss, {}, kept)
        first, second = F.normalize(of_views(own.detach())[:2], dim=2)
        return StepOutput(loss, {**metrics, **self.energies(first, second), **spread_figures(own[:count])}, kept)

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the teacher and the loss after a step."""
        super().after_step(step, kept)
        self.loss.after_step(step, kept)

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report collapsed projections, and the findings of the loss."""
        return spread_troubles(figures, self.least_std, self.loss.remedy) + self.loss.diagnose(figures)


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `non_contrastive`."""
    register("non_contrastive", NonContrastive)
