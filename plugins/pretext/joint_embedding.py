"""Joint embedding: views of one image should have low energy.

Sources: SimCLR (2002.05709), section 2.1; predictor and rising momentum: BYOL (2006.07733), section 3; one-sided, with
keys from a teacher: MoCo (1911.05722), section 3.2; nearest neighbours: NNCLR (2104.14548), section 3.2; local views:
SwAV (2006.09882), section 3.2.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plugins.pretext.embedded_views import EmbeddedViews
from plugins.pretext.multi_crop import add_local_pairs
from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.ranking import nearest
from ssl_pipeline.contrast.spread import CENTRED_STD, spread_figures, spread_troubles
from ssl_pipeline.models.encoder import Encoder
from ssl_pipeline.models.memory import Memory
from ssl_pipeline.types import Candidates, Encoded, Loss, Negatives, NegativeStrategy, Register, StepOutput

_REMEDY = (
    "Raise pretrain.batch_size, give incompatible pairs more weight in pretrain.loss, or lower "
    "pretrain.optimizer.learning_rate."
)


class JointEmbedding(EmbeddedViews):
    """Two `global` views, and `local` ones where they are asked for, encoded, projected and compared.

    Args:
        encoder: The encoder to train.
        loss: Shapes the energies of pairs.
        negatives: Says which pairs are incompatible.
        hidden_dim: Width of the projector's hidden layer.
        out_dim: Length of a projection.
        predictor_dim: Width of the hidden layer of a predictor on the anchors' side; 0: none.
        momentum: Of a teacher that makes positives and keys, in [0, 1); 0: none, both sides learn.
        momentum_rises: Whether it rises to 1 over the training, by a cosine.
        symmetric: Whether both global views are anchors to each other, or the first one only. Local views are anchors
            to both, or to the second one only.
        neighbours: Past projections in which the nearest neighbour of each global anchor takes its place (NNCLR); local
            views then are positives of these neighbours, not anchors. 0: none.
        local_views: Smaller views, of a kind of their own, which the teacher does not see and which are no keys; 0:
            none.
    """

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
        local_views: int = 0,
    ):
        if neighbours < 0:
            raise ValueError(f"neighbours must be at least 0, got {neighbours}")
        if momentum and neighbours:
            raise ValueError("momentum and neighbours cannot go together: a neighbour is already without gradient")
        super().__init__(
            encoder, loss, [hidden_dim, out_dim], True, predictor_dim, momentum, momentum_rises, 2, local_views
        )
        self.loss, self.negatives = loss, negatives
        self.least_std = 0.1 if local_views else CENTRED_STD
        self.symmetric = symmetric
        self.support = Memory(neighbours) if neighbours else None
        self._pending: Tensor | None = None

    def compare(self, encoded: Encoded) -> StepOutput:
        """Project all embeddings, and hold each view against each other global one of its image."""
        own = self.projected(encoded)
        candidates = self._candidates(encoded, own)
        negatives = self.negatives.select(candidates)
        loss, metrics = self.loss(candidates.anchors, negatives.compatible(candidates.positives), negatives)
        energies = self.energies(candidates.anchors, candidates.positives)
        spread = spread_figures(own[: len(encoded["embeddings"])])
        return StepOutput(loss, {**metrics, **negatives.figures, **energies, **spread})

    def _candidates(self, encoded: Encoded, own: Tensor) -> Candidates:
        """A row for each pair: (2 + 2 L) N, or (1 + L) N where the task is not symmetric."""
        images = len(encoded["embeddings"])
        seen = F.normalize(self.predictor(own), dim=1)
        anchors, local = seen[: 2 * images], seen[2 * images :]
        keys = F.normalize(self.taught(encoded), dim=1) if self.teacher else anchors
        if self.support is not None:
            self._pending = F.normalize(own[: 2 * images].detach(), dim=1)
            anchors = self._neighbours(self._pending, self.support)
        elif not self.teacher and not isinstance(self.predictor, nn.Identity):
            keys = F.normalize(own[: 2 * images], dim=1)
        positives = keys.roll(images, dims=0)
        if not self.symmetric:
            anchors, positives, keys = anchors[:images], positives[:images], keys[images:]
        anchors, positives = add_local_pairs(anchors, positives, local, images, as_anchors=self.support is None)
        samples = torch.arange(images, device=own.device)
        of_anchors, of_keys = (samples.repeat(len(rows) // images) for rows in (anchors, keys))
        return Candidates(anchors, positives, of_anchors, keys, of_keys)

    @staticmethod
    def _neighbours(projections: Tensor, support: Memory) -> Tensor:
        """The nearest past projection of each; they themselves while there are none."""
        past = support.held()
        if not len(past):
            return projections
        samples = torch.arange(len(projections), device=projections.device)
        place = nearest(projections, Negatives(past, samples, samples.new_full((len(past),), -1)), 1).keys[:, 0]
        return past[place]

    def after_step(self, progress: float) -> None:
        """Let the teacher, the neighbours and the strategy follow the step."""
        super().after_step(progress)
        if self.support is not None and self._pending is not None:
            self.support.push(self._pending)
        self._pending = None
        self.negatives.after_step(progress)

    def diagnose(self, figures: Mapping[str, float]) -> list[str]:
        """Projections that have collapsed, and what the loss and the strategy find wrong."""
        collapse = spread_troubles(figures, self.least_std, _REMEDY)
        return collapse + self.loss.diagnose(figures) + self.negatives.diagnose(figures)


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `joint_embedding`."""
    register("joint_embedding", JointEmbedding)
