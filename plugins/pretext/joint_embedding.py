"""Joint embedding: two views of one image should have low energy.

Sources: SimCLR (2002.05709), section 2.1; predictor and rising momentum: BYOL (2006.07733), section 3; one-sided, with
keys from a teacher: MoCo (1911.05722), section 3.2; nearest neighbours: NNCLR (2104.14548), section 3.2.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.ranking import nearest
from ssl_pipeline.models.encoder import Encoder
from ssl_pipeline.models.heads import ProjectedEnergy, mlp
from ssl_pipeline.models.memory import Memory
from ssl_pipeline.models.teacher import Teacher
from ssl_pipeline.types import (
    Candidates,
    Encoded,
    Loss,
    Negatives,
    NegativeStrategy,
    PretextTask,
    Register,
    StepOutput,
    Views,
)


class JointEmbedding(PretextTask):
    """Two `global` views, encoded, projected and compared.

    Args:
        encoder: The encoder to train.
        loss: Shapes the energies of pairs.
        negatives: Says which pairs are incompatible.
        hidden_dim: Width of the projector's hidden layer.
        out_dim: Length of a projection.
        predictor_dim: Width of the hidden layer of a predictor on the anchors' side; 0: none.
        momentum: Of a teacher that makes positives and keys, in [0, 1); 0: none, both sides learn.
        momentum_rises: Whether it rises to 1 over the training, by a cosine.
        symmetric: Whether both views are anchors to each other, or the first one only.
        neighbours: Past projections in which each anchor's nearest neighbour takes its place (NNCLR); 0: none.
    """

    energy_head: ProjectedEnergy

    def __init__(
        self,
        encoder: Encoder,
        loss: Loss,
        negatives: NegativeStrategy,
        hidden_dim: int,
        out_dim: int,
        predictor_dim: int = 0,
        momentum: float = 0.0,
        momentum_rises: bool = True,
        symmetric: bool = True,
        neighbours: int = 0,
    ):
        super().__init__()
        if min(hidden_dim, out_dim) < 1:
            raise ValueError(f"hidden_dim and out_dim must be at least 1, got {hidden_dim} and {out_dim}")
        if min(predictor_dim, neighbours) < 0:
            raise ValueError(f"predictor_dim and neighbours must be at least 0, got {predictor_dim} and {neighbours}")
        if momentum and neighbours:
            raise ValueError("momentum and neighbours cannot go together: a neighbour is already without gradient")
        self.views = {"global": 2}
        self.encoder = encoder
        self.negatives = negatives
        self.loss = loss
        self.energy_head = ProjectedEnergy(mlp([encoder.embedding_dim, hidden_dim, out_dim], last_norm=True), loss)
        self.predictor = mlp([out_dim, predictor_dim, out_dim]) if predictor_dim else nn.Identity()
        self.symmetric = symmetric
        taught = {"encoder": encoder, "projector": self.energy_head.projector} if momentum else {}
        self.teacher = nn.ModuleDict(
            {name: Teacher(student, momentum, momentum_rises) for name, student in taught.items()}
        )
        self.support = Memory(neighbours) if neighbours else None
        self._pending: Tensor | None = None

    def forward(self, views: Views) -> Encoded:
        """Encode both views in one pass (N, 2, D), by the teacher too where there is one."""
        images = views["global"]  # (N, 2, 3, S, S)
        encoded = {"embeddings": self.encoder(images.flatten(0, 1)).unflatten(0, images.shape[:2])}
        if self.teacher:
            encoded["teacher"] = self.teacher["encoder"](images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return encoded

    def compare(self, encoded: Encoded) -> StepOutput:
        """Project all embeddings, and hold each view against the other one of its image."""
        count = len(encoded["embeddings"])
        own = self.energy_head.projector(_stacked(encoded["embeddings"]))  # (2N, P): first views, then second ones
        anchors = F.normalize(self.predictor(own), dim=1)
        keys = self._taught(encoded["teacher"]) if self.teacher else anchors
        if self.support is not None:
            self._pending = F.normalize(own.detach(), dim=1)
            anchors = self._neighbours(self._pending, self.support)
        elif not self.teacher and not isinstance(self.predictor, nn.Identity):
            keys = F.normalize(own, dim=1)
        positives = keys.roll(count, dims=0)
        samples = torch.arange(count, device=own.device).repeat(2)
        candidates = Candidates(anchors, positives, samples, keys, samples)
        if not self.symmetric:
            first, second = slice(0, count), slice(count, None)
            candidates = Candidates(anchors[first], keys[second], samples[first], keys[second], samples[second])
        negatives = self.negatives.select(candidates)
        loss, metrics = self.loss(candidates.anchors, candidates.positives[:, None], negatives)
        return StepOutput(loss, {**metrics, **self._energies(candidates.anchors, candidates.positives)})

    def _taught(self, embeddings: Tensor) -> Tensor:
        """The teacher's projections (2N, P), unit-norm and without gradient."""
        return F.normalize(self.teacher["projector"](_stacked(embeddings)), dim=1)

    @staticmethod
    def _neighbours(projections: Tensor, support: Memory) -> Tensor:
        """The nearest past projection of each; they themselves while there are none."""
        past = support.held()
        if not len(past):
            return projections
        samples = torch.arange(len(projections), device=projections.device)
        place = nearest(projections, Negatives(past, samples, samples.new_full((len(past),), -1)), 1).keys[:, 0]
        return past[place]

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
        """Let the teacher, the neighbours and the strategy follow the step."""
        students = {"encoder": self.encoder, "projector": self.energy_head.projector}
        for name, teacher in self.teacher.items():
            assert isinstance(teacher, Teacher)
            teacher.follow(students[name], progress)
        if self.support is not None and self._pending is not None:
            self.support.push(self._pending)
        self._pending = None
        self.negatives.after_step(progress)

    def diagnose(self, figures: Mapping[str, float]) -> list[str]:
        """What the loss and the strategy find wrong."""
        return self.loss.diagnose(figures) + self.negatives.diagnose(figures)

    def predict(self, images: Tensor) -> Tensor:
        """Unit-norm projections (N, P)."""
        return F.normalize(self.energy_head.projector(self.encoder(images)), dim=1)


def _stacked(embeddings: Tensor) -> Tensor:
    """(N, 2, D), in whatever precision, as float32 (2N, D): all first views, then all second ones."""
    return embeddings.float().transpose(0, 1).flatten(0, 1)


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `joint_embedding`."""
    register("joint_embedding", JointEmbedding)
