"""Joint embedding: two views of one image should have low energy.

Source: SimCLR (2002.05709), section 2.1.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.models.encoder import Encoder
from ssl_pipeline.models.heads import ProjectedEnergy, mlp
from ssl_pipeline.types import Candidates, Encoded, Loss, NegativeStrategy, PretextTask, Register, StepOutput, Views


class JointEmbedding(PretextTask):
    """Two `global` views, encoded, projected and compared; both are anchors to each other.

    Args:
        encoder: The encoder to train.
        loss: Shapes the energies of pairs.
        negatives: Says which pairs are incompatible.
        hidden_dim: Width of the projector's hidden layer.
        out_dim: Length of a projection.
    """

    energy_head: ProjectedEnergy

    def __init__(self, encoder: Encoder, loss: Loss, negatives: NegativeStrategy, hidden_dim: int, out_dim: int):
        super().__init__()
        if min(hidden_dim, out_dim) < 1:
            raise ValueError(f"hidden_dim and out_dim must be at least 1, got {hidden_dim} and {out_dim}")
        self.views = {"global": 2}
        self.encoder = encoder
        self.negatives = negatives
        self.loss = loss
        self.energy_head = ProjectedEnergy(mlp([encoder.embedding_dim, hidden_dim, out_dim], last_norm=True), loss)

    def forward(self, views: Views) -> Encoded:
        """Encode both views in one pass: (N, 2, D)."""
        images = views["global"]  # (N, 2, 3, S, S)
        return {"embeddings": self.encoder(images.flatten(0, 1)).unflatten(0, images.shape[:2])}

    def compare(self, encoded: Encoded) -> StepOutput:
        """Project all embeddings, and hold each view against the other one of its image."""
        first, second = encoded["embeddings"].float().unbind(dim=1)  # (N, D) each
        anchors = self.energy_head.project(torch.cat([first, second]))  # (2N, P)
        positives = anchors.roll(len(first), dims=0)
        samples = torch.arange(len(first), device=anchors.device).repeat(2)
        negatives = self.negatives.select(Candidates(anchors, positives, samples, anchors, samples))
        loss, metrics = self.loss(anchors, positives[:, None], negatives)
        return StepOutput(loss, {**metrics, **self._energies(anchors, positives)})

    @torch.no_grad()
    def _energies(self, anchors: Tensor, positives: Tensor) -> dict[str, Tensor]:
        """Mean energies of compatible pairs, and of each anchor with the next image's positive."""
        compatible = self.loss.energy(anchors, positives).mean()
        incompatible = self.loss.energy(anchors, positives.roll(1, dims=0)).mean()
        return {
            "energy_compatible": compatible,
            "energy_incompatible": incompatible,
            "energy_gap": incompatible - compatible,
        }

    def after_step(self, progress: float) -> None:
        """Let the strategy follow the step."""
        self.negatives.after_step(progress)

    def diagnose(self, figures: Mapping[str, float]) -> list[str]:
        """What the loss and the strategy find wrong."""
        return self.loss.diagnose(figures) + self.negatives.diagnose(figures)

    def predict(self, images: Tensor) -> Tensor:
        """Unit-norm projections (N, P)."""
        return F.normalize(self.energy_head.projector(self.encoder(images)), dim=1)


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `joint_embedding`."""
    register("joint_embedding", JointEmbedding)
