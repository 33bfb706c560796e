"""A visual vocabulary: typical patches, which are learned by clustering during training.

Each entry is the moving average of the features that are nearest to it (online k-means). An idle entry, to which hardly
any feature is nearest, is moved to a feature that has no entry near it.

Sources: online k-means: MacQueen 1967, "Some methods for classification and analysis of multivariate observations";
moving averages of sums and counts: van den Oord et al. 2017 (1711.00937), appendix A.1; new places by squared distance:
Arthur and Vassilvitskii 2007, "k-means++", section 2.2.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.types import Finding, Kept, StepOutput

__all__ = ["Vocabulary", "graded_words", "vocabulary_troubles"]

_MIN_ENTRIES_IN_USE = 2.0  # entries in use, below which there is nothing to tell apart

_IDLE_SHARE = 0.1  # share of an even share, below which an entry is idle
_MAX_MOVES_PER_STEP = 32  # most entries that a step moves
_SAME_PLACE_DISTANCE = (
    1e-4  # squared distance, as a share of the features' mean square, below which a feature coincides with an entry
)


class Vocabulary(nn.Module):
    """Entries, with the sums and shares that they are averages of; checkpoints hold all of it.

    Args:
        words: Number of entries, K.
        dim: Length of a feature, F.
        momentum: Momentum of the averages, in [0, 1).

    Examples:
        >>> vocabulary = Vocabulary(words=4, dim=3, momentum=0.9)
        >>> features = torch.randn(32, 3)
        >>> noted = vocabulary.note(features)  # in `compare`, which keeps it
        >>> vocabulary.follow(noted)  # in `after_step`
        >>> vocabulary(features).shape
        torch.Size([32])
    """

    entries: Tensor
    sums: Tensor
    shares: Tensor

    def __init__(self, words: int, dim: int, momentum: float):
        super().__init__()
        if words < 2:
            raise ValueError(f"words must be at least 2, got {words}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}")
        self.momentum = momentum
        self.register_buffer("entries", torch.randn(words, dim))
        self.register_buffer("sums", torch.zeros(words, dim))
        self.register_buffer("shares", torch.zeros(words))

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Return the nearest entry (...,) int64 of features (..., F)."""
        return self._closeness(features).argmax(dim=-1)

    def _closeness(self, features: Tensor) -> Tensor:
        """Return minus half the squared distance (..., K) to each entry, up to a term that all entries share."""
        return features @ self.entries.T - self.entries.square().sum(dim=1) / 2

    @torch.no_grad()
    def note(self, features: Tensor) -> dict[str, Tensor]:
        """Return what `follow` learns from a batch of features (M, F), without changing anything yet."""
        closeness, nearest = self._closeness(features).max(dim=1)
        words = torch.arange(len(self.entries), device=nearest.device)
        belongs = (nearest[:, None] == words).to(features.dtype)  # (M, K)
        idle = (self.shares < _IDLE_SHARE / len(self.entries)).nonzero()[:_MAX_MOVES_PER_STEP, 0]
        places = self._places(features, features.square().sum(dim=1) - 2 * closeness, len(idle))
        return {
            "sums": belongs.T @ features / len(features),
            "shares": belongs.mean(dim=0),
            "idle": idle[: len(places)],
            "places": places,
        }

    @staticmethod
    def _places(features: Tensor, distances: Tensor, count: int) -> Tensor:
        """Return up to `count` features, of (M, F), that are far from all entries, by their squared distances (M,).

        They are chosen one by one. Each is the feature at which the sorted distances reach half of their sum: far away,
        but not among the farthest, which are often outliers. (k-means++ draws it, with probabilities in proportion to
        the distances.)
        """
        near = _SAME_PLACE_DISTANCE * features.square().sum(dim=1).mean()
        found = []
        for _ in range(count):
            distances = torch.where(distances < near, 0.0, distances)
            order = distances.argsort(stable=True)
            mass = distances[order].cpu().double().cumsum(0)  # a GPU sums in no fixed order
            if not mass[-1] > 0:
                break
            found.append(features[order[int(torch.searchsorted(mass, mass[-1] / 2))]])
            distances = torch.minimum(distances, (features - found[-1]).square().sum(dim=1))
        return torch.stack(found) if found else features[:0]

    @torch.no_grad()
    def follow(self, noted: Mapping[str, Tensor]) -> None:
        """Update the entries by what `note` returned."""
        idle, places = noted["idle"], noted["places"]
        self.sums.lerp_(noted["sums"], 1 - self.momentum)
        self.shares.lerp_(noted["shares"], 1 - self.momentum)
        even = 1 / len(self.entries)
        self.sums[idle], self.shares[idle] = places * even, even
        moved = self.sums / self.shares.clamp(min=1e-12)[:, None]
        self.entries.copy_(torch.where((self.shares > 0)[:, None], moved, self.entries))


def graded_words(scores: Tensor, wanted: Tensor, kept: Kept, measured: bool) -> StepOutput:
    """Compare the scores (M, K) of all entries with the right entries (M,).

    Args:
        scores: Scores of the entries, float32.
        wanted: Numbers of the right entries.
        kept: Data that the vocabulary's `follow` receives.
        measured: Whether to compute figures.

    Returns:
        The mean cross-entropy in nats; `pretext_accuracy`, and `words_used`, the perplexity of the right entries.
    """
    loss = F.cross_entropy(scores, wanted)
    if not measured:
        return StepOutput(loss, {}, kept)
    shares = torch.bincount(wanted, minlength=scores.shape[1]) / len(wanted)
    metrics = {
        "pretext_accuracy": (scores.argmax(dim=1) == wanted).float().mean(),
        "words_used": torch.special.entr(shares).sum().exp(),
    }
    return StepOutput(loss, metrics, kept)


def vocabulary_troubles(figures: Mapping[str, float], vocabulary: Vocabulary, of: str = "patches") -> list[Finding]:
    """Report that the patches that `of` names use only one entry of the vocabulary."""
    used = figures["words_used"]
    if used >= _MIN_ENTRIES_IN_USE:
        return []
    return [
        Finding(
            "vocabulary collapse",
            f"vocabulary collapse: {of} use only {used:.1f} of {len(vocabulary.entries)} entries. Raise "
            "pretrain.pretext_task: {patch_size: ...}, or lower {momentum: ...}. Images that hardly vary cannot fill a "
            "vocabulary.",
        )
    ]
