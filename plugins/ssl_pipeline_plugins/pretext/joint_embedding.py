"""Joint embedding: views of one image should have low energy.

Sources: SimCLR (2002.05709), section 2.1; predictor and rising momentum: BYOL (2006.07733), section 3; one-sided, with
keys from a teacher: MoCo (1911.05722), section 3.2; nearest neighbours: NNCLR (2104.14548), section 3.2; local views:
SwAV (2006.09882), section 3.2.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline import hookimpl
from ssl_pipeline.contrast.ranking import nearest
from ssl_pipeline.health.negatives import few_negatives
from ssl_pipeline.health.projections import CENTRED_STD, spread_figures, spread_troubles
from ssl_pipeline.parts.embedded_views import EmbeddedViews
from ssl_pipeline.parts.memory import Memory
from ssl_pipeline.parts.multi_crop import add_local_pairs
from ssl_pipeline.types import (
    Candidates,
    Encoded,
    Encoder,
    Finding,
    Kept,
    Loss,
    Negatives,
    NegativeStrategy,
    Register,
    Step,
    StepOutput,
)


class JointEmbedding(EmbeddedViews):
    """Two `global` views, and optional `local` ones, that are encoded, projected and compared.

    Args:
        encoder: The encoder to train.
        loss: The loss that shapes the energies of pairs.
        negatives: The strategy that selects the incompatible pairs.
        hidden_dim: Width of the projector's hidden layers.
        out_dim: Length of a projection.
        layers: Number of layers of the projector, at least 2.
        batch_norms: Layers of the projector that are followed by a batch normalisation: all, hidden ones or none.
        predictor_dim: Width of the hidden layer of a predictor on the side of the anchors; 0 for no predictor.
        momentum: Momentum, in [0, 1), of a teacher that computes positives and keys. With 0 there is no teacher, and
            both sides learn.
        momentum_rises: Whether the momentum rises to 1 over the training, by a cosine.
        symmetric: Whether both global views are anchors for each other, or only the first for the second. Local views
            are anchors for both, or only for the second.
        keys: Keys that an anchor is compared with: those of both global views, or only those of the view that its
            positive is from (MoCo, NNCLR). A memory then holds one key per image instead of two.
        neighbours: Number of past projections, among which the nearest neighbour of each global anchor replaces it
            (NNCLR). Local views are then positives of these neighbours, not anchors. 0 for no neighbours.
        local_views: Number of smaller views, of the kind `local`, which the teacher does not see and which do not serve
            as keys; 0 for none.
    """

    objective = Loss

    def __init__(
        self,
        encoder: Encoder,
        loss: Loss,
        negatives: NegativeStrategy,
        *,
        hidden_dim: int,
        out_dim: int,
        layers: int = 2,
        batch_norms: Literal["all", "hidden", "none"] = "all",
        predictor_dim: int = 0,
        momentum: float = 0.0,
        momentum_rises: bool = True,
        symmetric: bool = True,
        keys: Literal["both_views", "other_view"] = "both_views",
        neighbours: int = 0,
        local_views: int = 0,
    ):
        if layers < 2:
            raise ValueError(f"layers must be at least 2, got {layers}")
        if neighbours < 0:
            raise ValueError(f"neighbours must be at least 0, got {neighbours}")
        if momentum and neighbours:
            raise ValueError(
                "momentum and neighbours cannot be combined, as a neighbour has no gradient and needs no teacher: set "
                "one of them to 0"
            )
        super().__init__(
            encoder,
            loss,
            projector=[*[hidden_dim] * (layers - 1), out_dim],
            hidden_norm=batch_norms != "none",
            last_norm=batch_norms == "all",
            predictor_dim=predictor_dim,
            momentum=momentum,
            momentum_rises=momentum_rises,
            local_views=local_views,
        )
        self.loss, self.negatives = loss, negatives
        self.least_std = 0.1 if local_views or batch_norms != "all" else CENTRED_STD
        self.symmetric, self.one_view = symmetric, keys == "other_view" or not symmetric
        self.support = Memory(neighbours) if neighbours else None

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Project all embeddings, and compare each view with each other global view of its image."""
        own = self.projected(encoded)
        parts = self._candidates(encoded, own, step)
        outputs = [self._held_against(candidates) for candidates in parts]
        loss = _mean([output.loss for output in outputs])
        own_keys = {} if self.support is None else {"support": self._asking(encoded, own)}
        kept = {**own_keys, **outputs[-1].kept}
        if not step.measured:
            return StepOutput(loss, {}, kept)
        metrics = {name: _mean([output.metrics[name] for output in outputs]) for name in outputs[0].metrics}
        anchors, positives = (
            torch.cat(rows) for rows in zip(*((part.anchors, part.positives) for part in parts), strict=True)
        )
        spread = spread_figures(own[: len(encoded["embeddings"])])
        metrics = {**metrics, **self.energies(anchors, positives), **spread}
        return StepOutput(loss, metrics, kept)

    def _held_against(self, candidates: Candidates) -> StepOutput:
        """Return the loss of some anchors, the figures of their negatives, and what the loss and the strategy keep."""
        negatives = replace(self.negatives.select(candidates), near=candidates.step.near)
        positives = negatives.compatible(candidates.positives)
        loss, metrics, kept = self.loss(candidates.anchors, positives, negatives, candidates.step)
        return StepOutput(loss, {**metrics, **negatives.figures}, {"loss": kept, "negatives": negatives.kept})

    @staticmethod
    def _asking(encoded: Encoded, own: Tensor) -> Tensor:
        """Return unit-norm projections (2N, P) of global views, which look for neighbours now and are some later."""
        return F.normalize(own[: 2 * len(encoded["embeddings"])].detach(), dim=1)

    def _candidates(self, encoded: Encoded, own: Tensor, step: Step) -> list[Candidates]:
        """Return one row per pair: (2 + 2 L) N, or (1 + L) N for each view that is compared with the other's keys."""
        images = len(encoded["embeddings"])
        seen = F.normalize(self.predictor(own), dim=1)
        anchors, local = seen[: 2 * images], seen[2 * images :]
        keys = F.normalize(self.taught(encoded), dim=1) if self.teacher else anchors
        if self.support is not None:
            anchors = self._neighbours(self._asking(encoded, own), self.support)
        elif not self.teacher and not isinstance(self.predictor, nn.Identity):
            keys = F.normalize(own[: 2 * images], dim=1)
        positives = keys.roll(images, dims=0)
        of_views = torch.cat([step.samples(0), step.samples(1)])
        parts = [(anchors, positives, keys, of_views, of_views)]
        if self.one_view:
            views = slice(images), slice(images, None)
            parts = [(anchors[a], positives[a], keys[b], of_views[a], of_views[b]) for a, b in (views, reversed(views))]
        made, local_samples = [], step.ids.repeat(len(local) // images)
        for asking, answers, asked, of_asking, of_asked in parts if self.symmetric else parts[:1]:
            add = functools.partial(add_local_pairs, images=images, as_anchors=self.support is None)
            pairs = add(asking, answers, local)
            of_anchors = add(of_asking[:, None], of_asking[:, None], local_samples[:, None])[0][:, 0]
            of_keys = of_anchors if pairs[0] is asked else of_asked  # one tensor, so that they are known to be equal
            made.append(Candidates(*pairs, of_anchors, asked, of_keys, step))
        return made

    @staticmethod
    def _neighbours(projections: Tensor, support: Memory) -> Tensor:
        """Return the past projection nearest to each row, of any image; the rows themselves while there are none."""
        past = support.held()
        if not len(past):
            return projections
        asking, asked = (
            torch.full((len(rows),), side, device=past.device) for side, rows in enumerate((projections, past))
        )
        place = nearest(projections, Negatives(past, asking, asked), 1).keys[:, 0]
        return past[place]

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the teacher, the neighbours, the loss and the strategy after a step."""
        super().after_step(step, kept)
        if self.support is not None:
            self.support.push(kept["support"])
        self.loss.after_step(step, kept["loss"])
        self.negatives.after_step(step, kept["negatives"])

    def diagnose(self, figures: Mapping[str, float]) -> list[Finding]:
        """Report collapsed projections, and the findings of the loss and of the strategy."""
        collapse = spread_troubles(figures, self.least_std, self.loss.remedy)
        few = few_negatives(figures, self.negatives.remedy) if self.loss.needs_many_negatives else []
        return collapse + (few or self.loss.diagnose(figures)) + self.negatives.diagnose(figures)


def _mean(values: Sequence[Tensor]) -> Tensor:
    return functools.reduce(torch.add, values) / len(values)


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `joint_embedding`."""
    register("joint_embedding", JointEmbedding)
