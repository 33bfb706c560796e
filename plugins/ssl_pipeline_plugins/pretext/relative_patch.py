"""Relative patch: where is a tile of an image, relative to the one in the middle?

Shortcuts: edges that continue from tile to tile, chromatic aberration, low-level statistics, borders and traces of
resampling; `ssl_pipeline.parts.tiles` guards against all of them.

Source: Doersch et al. 2015 (1505.05192), section 3.
"""

import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.answers import graded
from ssl_pipeline.parts.heads import mlp
from ssl_pipeline.parts.tiles import Channels, Tiling
from ssl_pipeline.types import UNIFORMS, Encoded, Encoder, PretextTask, Register, Step, StepOutput, Views

_MIDDLE_TILE = 4
_OUTER_TILES = 8  # of 3 x 3 tiles


class RelativePatch(PretextTask):
    """All nine tiles of one view; an MLP predicts the place of each outer tile from its embedding and the middle one's.

    Args:
        encoder: The encoder to train.
        size: Side of a view in px.
        hidden_dim: Width of the MLP's hidden layer.
        gap: Smallest gap between two tiles, as a share of a third of a view, in [0, 0.5]; at least 1 px, unless it is
            0.
        jitter: Range in which a tile can move, as a share of a third of a view, in [0, 0.5]; rounded down to px.
        channels: Channels that tiles show: one (all tiles of an image show the same channel, as grey) or all (tiles are
            in colour).
        view: The kind of view to learn from.
    """

    forbidden = frozenset({"rotation"})

    def __init__(
        self,
        encoder: Encoder,
        size: int,
        *,
        hidden_dim: int = 256,
        gap: float = 0.25,
        jitter: float = 0.125,
        channels: Channels = "one",
        view: str = "plain",
    ):
        super().__init__()
        if hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, got {hidden_dim}")
        self.tiling = Tiling(size, count=3, gap=gap, jitter=jitter, channels=channels)
        self.views, self.parts, self.uniforms = (
            self.views_for({"view": view}),
            {"tile": self.tiling.side},
            self.tiling.uniforms,
        )
        self.view, self.encoder = view, encoder
        self.head = mlp([2 * encoder.embedding_dim, hidden_dim, _OUTER_TILES])

    def forward(self, views: Views) -> Encoded:
        """Return embeddings (N, 9, D) of the tiles."""
        return {"embeddings": self.tiling.encode(self.encoder, views[self.view][:, 0], views[UNIFORMS])}

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the mean cross-entropy in nats of eight questions per image; chance is log 8."""
        logits = self._asked(encoded["embeddings"])
        return graded(logits, torch.arange(_OUTER_TILES, device=logits.device).expand(len(logits), -1))

    def predict(self, images: Tensor) -> Tensor:
        """Return probabilities (N, 8 tiles around the middle one, row by row, 8 answers)."""
        return self._asked(self.tiling.encode(self.encoder, images)).softmax(dim=2)

    def _asked(self, embeddings: Tensor) -> Tensor:
        """Return logits (N, 8, 8) for embeddings (N, 9, D)."""
        around = torch.cat([embeddings[:, :_MIDDLE_TILE], embeddings[:, _MIDDLE_TILE + 1 :]], dim=1)
        pairs = torch.cat([embeddings[:, _MIDDLE_TILE, None].expand_as(around), around], dim=2)
        logits: Tensor = self.head(pairs.flatten(0, 1)).unflatten(0, pairs.shape[:2])
        return logits


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `relative_patch`."""
    register("relative_patch", RelativePatch)
