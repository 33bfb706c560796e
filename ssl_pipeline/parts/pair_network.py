"""A learned energy of pairs: the squared distance of two outputs of a small network, the same for both sides.

Like a distance, it is symmetric, at least 0, and 0 for equal vectors. Both sides pass through the network before they
are compared, so a batch of N vectors takes N passes, not N².

Source: Hadsell, Chopra and LeCun 2006, section 2, whose energy is the distance of a network's outputs.
"""

from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from ssl_pipeline.contrast.similarity import widened
from ssl_pipeline.types import Negatives, Tile

__all__ = ["PairNetwork"]


class PairNetwork(nn.Module):
    """x + W₂ [W₁ x + b₁]₊ + b₂, scaled to unit length.

    Args:
        dim: Length of the vectors.
        hidden_dim: Width of the hidden layer.

    Examples:
        >>> import torch
        >>> network = PairNetwork(dim=8, hidden_dim=16)
        >>> moved = network(F.normalize(torch.rand(4, 8), dim=1))
        >>> moved.shape, bool((moved.norm(dim=1) - 1).abs().max() < 1e-5)
        (torch.Size([4, 8]), True)
    """

    def __init__(self, dim: int, hidden_dim: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, dim))

    def forward(self, vectors: Tensor) -> Tensor:
        """Map unit-norm vectors (..., D) to unit-norm ones, at least float32."""
        wide = widened(vectors)
        return F.normalize(wide + self.layers(wide), dim=-1)

    def move(self, anchors: Tensor, negatives: Negatives) -> tuple[Tensor, Negatives]:
        """Pass anchors (A, D), and the keys of negatives, through the network.

        Keys that are the anchors pass through it only once. The strategy has chosen by the cosines of projections and
        still sees these cosines, which are computed again for each tile.
        """
        asking = self(anchors)
        moved = replace(negatives, keys=asking if negatives.keys is anchors else self(negatives.keys))
        choose = negatives.log_weight
        if choose is None:
            return asking, moved
        before, keys = widened(anchors.detach()), widened(negatives.keys.detach())

        def log_weight(tile: Tile) -> Tensor:
            return choose(tile._replace(similarities=before[tile.anchors] @ keys[tile.keys].T))

        return asking, replace(moved, log_weight=log_weight)
