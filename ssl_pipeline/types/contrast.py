"""Which incompatible pairs count: strategies, what they choose from, and the negatives that they choose."""

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
        anchors: (A, D), the embeddings that are compared.
        positives: (A, D), a compatible key for each anchor.
        anchor_samples: (A,) int64, the id of the image of the data that each anchor is a view of.
        keys: (K, D), the batch's own keys: views of its images, from the teacher where there is one.
        key_samples: (K,) int64, the id of the image of the data that each key is a view of. A memory keeps it beside
            the key: ids are the same in all steps, and equal for equal images.
        step: The step: how far the training is, and random numbers of images.

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
        """Return every anchor against every key of another image, but for images that are near it in time.

        Args:
            keys: The keys (K, D); None: the batch's own.
            key_samples: The ids (K,) of the images that they are of; None: those of the batch's own keys.
            **more: Further attributes of `Negatives`, such as `log_weight` and `rows`.
        """
        asked = (self.keys, self.key_samples) if keys is None or key_samples is None else (keys, key_samples)
        return Negatives(asked[0], self.anchor_samples, asked[1], near=self.step.near, **more)


class Tile(NamedTuple):
    """Some anchors against some keys, with no more of anything than that.

    Attributes:
        similarities: (a, k) cosines, at least float32.
        anchors: The place of these anchors among all of them.
        keys: The place of these keys among all of them.
        rows: Name -> (a, 1): what `Negatives.rows` says of these anchors.

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
    """Incompatible pairs as data: every anchor against every key of another image, with weights.

    Attributes:
        keys: (K, D), the keys, unit-norm.
        anchor_samples: (A,) int64, the id of the image of the data that each anchor is a view of.
        key_samples: (K,) int64, the id of the image that each key is a view of, also where the key is remembered. A key
            of the anchor's own image is no negative. Any int64 can be an id. These are two short vectors instead of a
            mask, so that nothing of size A x K need exist.
        log_weight: None (all weights are 1), or a function of a tile that returns the logarithm of each negative's
            weight (a, k); -inf leaves a pair out. Weights that are not 0 or 1 average 1 over an anchor's negatives.
        rows: Name -> (A,): statistics of anchors over all their keys, which `log_weight` finds in its tile. Gradients
            go through them unless they are detached.
        class_prior: Share of the negatives that are, unseen, positives: the expectation over true negatives is
            estimated by taking that share of the positives' away (Chuang et al. 2020, 2007.00224). In [0, 1).
        attracted: None, or (A, M, D) unit-norm: keys that the strategy takes for compatible after all.
        figures: Name -> detached scalar worth a curve, the same names in every step that is measured.
        kept: What the strategy's `after_step` is given, detached, such as the keys that a memory takes in.
        near: None, or the places of all images in time: a key of an image near the anchor's own is no negative either.
            `Candidates.negatives` sets it.

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
        """Return numbers (A,) and (K,) int64 of anchors and keys; those of no negatives differ by the third at most.

        They are the ids, and the third is 0, where nothing is near in time.
        """
        if self.near is None:
            return self.anchor_samples, self.key_samples, 0
        return self.near.places_of(self.anchor_samples), self.near.places_of(self.key_samples), self.near.within

    def compatible(self, positives: Tensor) -> Tensor:
        """Return all that anchors should be near to: positives (A, D) and what is attracted, (A, 1 + M, D)."""
        every = positives[:, None]
        return every if self.attracted is None else torch.cat([every, self.attracted], dim=1)


Trait = Literal["selected", "weighted", "debiased"]
"""What a strategy does: chooses pairs by their similarity, weights them, subtracts a share of the positives."""


class NegativeStrategy(Diagnosed, nn.Module, ABC):
    """Says which incompatible pairs count, and how much. Queues and pointers are persistent buffers.

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
    """What a loss may have to refuse."""

    remedy: str = "Raise pretrain.batch_size, or choose pretrain.negatives that remember keys of past steps."
    """What to change where anchors have too few negatives, as a sentence."""

    @abstractmethod
    def select(self, candidates: Candidates) -> Negatives:
        """Choose negatives for each anchor.

        What `after_step` needs of the candidates is returned as `kept`, not noted in the strategy. Where a task asks
        more than once in a step, `after_step` is given what the last answer kept.
        """

    def after_step(self, step: Step, kept: Kept) -> None:
        """Follow an optimizer step, such as by filling a queue: `kept` is what `select` kept of this step."""
        del step, kept  # most strategies hold no state
