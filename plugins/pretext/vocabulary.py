"""A visual vocabulary: typical patches, found by clustering while training goes on.

Each entry is the moving average of the features that are nearest to it (online k-means). An entry that hardly any
feature is nearest to is moved to where features are.

Sources: online k-means: MacQueen 1967, "Some methods for classification and analysis of multivariate observations";
moving averages of sums and counts: van den Oord et al. 2017 (1711.00937), appendix A.1.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Vocabulary"]

_IDLE = 0.1  # of an even share, below which an entry is moved


class Vocabulary(nn.Module):
    """Entries, and what they are averages of; all of it is in the state that a checkpoint holds.

    Args:
        words: K, how many entries.
        dim: F, the length of a feature.
        momentum: Of the averages, in [0, 1).
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
        self._pending: tuple[Tensor, Tensor, Tensor] | None = None

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """The nearest entry (...,) int64 of features (..., F)."""
        return self._closeness(features).argmax(dim=-1)

    def _closeness(self, features: Tensor) -> Tensor:
        """Minus half the squared distance (..., K) to each entry, but for what is the same for all entries."""
        return features @ self.entries.T - self.entries.square().sum(dim=1) / 2

    @torch.no_grad()
    def note(self, features: Tensor) -> None:
        """Look at a batch of features (M, F), which the next `follow` learns from."""
        closeness, nearest = self._closeness(features).max(dim=1)
        belongs = F.one_hot(nearest, len(self.entries)).to(features.dtype)  # (M, K)
        far = (features.square().sum(dim=1) / 2 - closeness).argsort()
        ranks = torch.linspace(0, len(features) - 1, len(self.entries), device=features.device).round().long()
        self._pending = belongs.T @ features / len(features), belongs.mean(dim=0), features[far[ranks]]

    @torch.no_grad()
    def follow(self) -> None:
        """Move the entries by what was noted.

        Idle ones go to features that lie evenly in the order of their distance to the entries there are: where most
        features are, and some where no entry is near.
        """
        if self._pending is None:
            return
        sums, shares, places = self._pending
        self._pending = None
        self.sums.lerp_(sums, 1 - self.momentum)
        self.shares.lerp_(shares, 1 - self.momentum)
        even = 1 / len(self.entries)
        idle = (self.shares < _IDLE * even)[:, None]
        self.sums.copy_(torch.where(idle, places * even, self.sums))
        self.shares.masked_fill_(idle[:, 0], even)
        self.entries.copy_(self.sums / self.shares[:, None])
