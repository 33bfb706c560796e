"""Negative sampling: strategies, the candidates that they choose from, and the negatives that they return."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ssl_pipeline.types.finding import Diagnosed
from ssl_pipeline.types.near import Near
from ssl_pipeline.types.step import Kept, Step

__all__ = ["Candidates", "NegativeStrategy", "Negatives", "Tile", "Trait"]


@dataclass(frozen=True)
class Candidates:
    """What a negative-sampling strategy chooses from. All vectors have unit length.

    Attributes:
        anchors: Embeddings (A, D) that are compared with keys.
        positives: Compatible key (A, D) of each anchor.
        anchor_samples: Id (A,) int64 of the image that each anchor is a view of.
        keys: Keys of the batch (K, D): views of its images, from the teacher if there is one.
        key_samples: Id (K,) int64 of the image that each key is a view of. A memory keeps it with the key: the id of an
            image is the same in all steps, and equal images have equal ids.
        step: The step: the progress of the training, and random numbers of images.

    Examples:
        >>> from ssl_pipeline.testing.material import make_step, unit_vectors
        >>> keys, ids = unit_vectors(count=4, dim=8, seed=0), torch.tensor([7, 9, 7, 9])  # two views each
        >>> candidates = Candidates(keys, keys.roll(2, 0), ids, keys, ids, make_step(count=2))
        >>> candidates.anchor_samples.tolist()
        [7, 9, 7, 9]
    """

    anchors: Tensor
    positives: Tensor
    anchor_samples: Tensor
    keys: Tensor
    key_samples: Tensor
    step: Step

    def negatives(self, keys: Tensor | None = None, key_samples: Tensor | None = None, **more: Any) -> "Negatives":
        """Return negatives that pair each anchor with all keys of other images, except those near it in time.

        Args:
            keys: Keys (K, D); None: those of the batch.
            key_samples: Ids (K,) of the images that the keys are views of; None: those of the batch.
            **more: Further attributes of `Negatives`, such as `log_weight` and `rows`.
        """
        asked = (self.keys, self.key_samples) if keys is None or key_samples is None else (keys, key_samples)
        return Negatives(asked[0], self.anchor_samples, asked[1], near=self.step.near, **more)


class Tile(NamedTuple):
    """A part of the matrix of anchors and keys: some anchors and some keys, with their similarities.

    Attributes:
        similarities: Cosines (a, k), at least float32.
        anchors: Place of these anchors among all anchors.
        keys: Place of these keys among all keys.
        rows: Name -> (a, 1): the values of `Negatives.rows` for these anchors.

    Examples:
        >>> tile = Tile(torch.tensor([[0.9, 0.1]]), slice(0, 1), slice(0, 2), {})
        >>> torch.where(tile.similarities > 0.5, -torch.inf, 0.0)  # a log weight that leaves out near keys
        tensor([[-inf, 0.]])
    """

    similarities: Tensor
    anchors: slice
    keys: slice
    rows: Mapping[str, Tensor]


@dataclass(frozen=True)
class Negatives:
    """Incompatible pairs as data: each anchor paired with all keys of other images, with weights.

    Attributes:
        keys: Keys (K, D), unit-norm.
        anchor_samples: Id (A,) int64 of the image that each anchor is a view of.
        key_samples: Id (K,) int64 of the image that each key is a view of, even if the key is from a memory. A key of
            the anchor's own image is never a negative. Any int64 can be an id. These two short vectors replace a mask,
            so nothing of size A x K need exist.
        log_weight: Function of a tile that returns the logarithm of each negative's weight (a, k); -inf leaves a pair
            out. Weights other than 0 and 1 average 1 over an anchor's negatives. None: all weights are 1.
        rows: Name -> (A,): statistics of anchors over all their keys, which `log_weight` finds in its tile. Gradients
            flow through them unless they are detached.
        class_prior: Share of the negatives, in [0, 1), that are in fact positives. The expectation over true negatives
            is estimated by subtracting that share of the expectation over positives (Chuang et al. 2020, 2007.00224).
        attracted: Keys (A, M, D), unit-norm, that the strategy takes for compatible after all, or None.
        figures: Name -> a detached scalar for the curves; the names are the same in every step that is measured.
        kept: Data, detached, that the strategy's `after_step` receives, such as the keys for a memory.
        near: Position of each image in time: a key of an image near the anchor's own is never a negative either. None
            if time is ignored. `Candidates.negatives` sets it.

    Examples:
        >>> from ssl_pipeline.contrast.similarity import total_weight
        >>> keys, ids = torch.eye(4), torch.tensor([7, 9, 7, 9])
        >>> total_weight(keys, Negatives(keys, ids, ids))  # each anchor has the two keys of the other image
        tensor([2., 2., 2., 2.])
        >>> halved = Negatives(keys, ids, ids, log_weight=lambda tile: torch.full_like(tile.similarities, -0.6931472))
        >>> total_weight(keys, halved).round(decimals=4)
        tensor([1., 1., 1., 1.])
    """

    keys: Tensor
    anchor_samples: Tensor
    key_samples: Tensor
    log_weight: Callable[[Tile], Tensor] | None = None
    rows: Mapping[str, Tensor] = field(default_factory=dict)
    class_prior: float = 0.0
    attracted: Tensor | None = None
    figures: Mapping[str, Tensor] = field(default_factory=dict)
    kept: Kept = field(default_factory=dict)
    near: Near | None = None

    def numbered(self) -> tuple[Tensor, Tensor, int]:
        """Return numbers (A,) of anchors and (K,) of keys, int64, and the largest difference in pairs to leave out.

        If time is ignored, the numbers are the ids, and the difference is 0.
        """
        if self.near is None:
            return self.anchor_samples, self.key_samples, 0
        return self.near.places_of(self.anchor_samples), self.near.places_of(self.key_samples), self.near.within

    def compatible(self, positives: Tensor) -> Tensor:
        """Return all keys (A, 1 + M, D) that anchors should be close to: positives (A, D) and attracted keys."""
        every = positives[:, None]
        return every if self.attracted is None else torch.cat([every, self.attracted], dim=1)


Trait = Literal["selected", "weighted", "debiased"]
"""What a strategy does: it selects pairs by similarity, weights them, or subtracts a share of the positives."""


class NegativeStrategy(Diagnosed, nn.Module, ABC):
    """A strategy that selects and weights incompatible pairs. Its queues and pointers are persistent buffers.

    Examples:
        >>> from ssl_pipeline.contrast.ranking import nearest
        >>> from ssl_pipeline.testing.material import make_step
        >>> class Distant(NegativeStrategy):  # leaves out near keys, which may be of the anchor's class
        ...     traits = frozenset({"selected"})
        ...     def __init__(self, largest_cosine):
        ...         super().__init__()
        ...         self.largest_cosine = largest_cosine
        ...     def log_weight(self, tile):
        ...         return torch.where(tile.similarities > self.largest_cosine, -torch.inf, 0.0)
        ...     def select(self, candidates):
        ...         return candidates.negatives(log_weight=self.log_weight)
        >>> keys, ids = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), torch.tensor([1, 2, 3])
        >>> negatives = Distant(0.7).select(Candidates(keys, keys, ids, keys, ids, make_step(count=3)))
        >>> nearest(keys, negatives, k=1).keys[:, 0].tolist()  # the first image's key at cosine 0.8 is left out
        [2, 2, 1]
    """

    traits: frozenset[Trait] = frozenset()
    """What the strategy does that a loss may have to refuse."""

    remedy: str = "Raise pretrain.batch_size, or choose pretrain.negatives that remember keys of past steps."
    """What to change if anchors have too few negatives, as a sentence."""

    @abstractmethod
    def select(self, candidates: Candidates) -> Negatives:
        """Choose negatives for each anchor.

        Return what `after_step` needs of the candidates as `kept`, instead of storing it in the strategy. If a task
        calls this more than once in a step, `after_step` receives what the last call kept.
        """

    def after_step(self, step: Step, kept: Kept) -> None:
        """Update the strategy after an optimizer step, such as its queue; `kept` is what `select` kept of this step."""
        del step, kept  # most strategies hold no state
