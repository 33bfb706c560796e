"""Jigsaw: by which of a set of permutations were the tiles of an image shuffled?

Shortcuts: edges that continue from tile to tile, chromatic aberration, low-level statistics, borders and traces of
resampling; `ssl_pipeline.parts.tiles` guards against all of them. If permutations were similar, a few tiles would tell
them apart; therefore those of the set are far from each other.

Source: Noroozi and Favaro 2016 (1603.09246), section 3 and algorithm 1.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssl_pipeline import hookimpl
from ssl_pipeline.parts.answers import graded
from ssl_pipeline.parts.heads import mlp
from ssl_pipeline.parts.tiles import Channels, Tiling, choice
from ssl_pipeline.types import UNIFORMS, Encoded, Encoder, PretextTask, Register, Step, StepOutput, Views


class Jigsaw(PretextTask):
    """The embeddings of n x n tiles of one view in a shuffled order; an MLP predicts the permutation.

    Args:
        encoder: The encoder to train.
        size: Side of a view in px.
        tiles: Number of tiles on each side of a view, n: 2 or 3.
        permutations: Number of permutations to tell apart: 2 to 24 for n = 2, and 2 to 1,000 for n = 3.
        hidden_dim: Width of the MLP's hidden layer.
        gap: Smallest gap between two tiles, as a share of 1/n of a view, in [0, 0.5]; at least 1 px, unless it is 0.
        jitter: Range in which a tile can move, as a share of 1/n of a view, in [0, 0.5]; rounded down to px.
        channels: Channels that tiles show: one (all tiles of an image show the same channel, as grey) or all (tiles are
            in colour).
        view: The kind of view to learn from.
    """

    forbidden = frozenset({"rotation"})
    permutations: Tensor

    def __init__(
        self,
        encoder: Encoder,
        size: int,
        *,
        tiles: int = 3,
        permutations: int = 64,
        hidden_dim: int = 256,
        gap: float = 0.25,
        jitter: float = 0.125,
        channels: Channels = "one",
        view: str = "plain",
    ):
        super().__init__()
        most = {2: 24, 3: 1000}
        if tiles not in most:
            raise ValueError(f"tiles must be 2 or 3, got {tiles}")
        if not 2 <= permutations <= most[tiles]:
            raise ValueError(f"permutations must lie in 2 to {most[tiles]} for tiles: {tiles}, got {permutations}")
        if hidden_dim < 1:
            raise ValueError(f"hidden_dim must be at least 1, got {hidden_dim}")
        self.tiling = Tiling(size, count=tiles, gap=gap, jitter=jitter, channels=channels)
        self.views, self.parts, self.uniforms = (
            self.views_for({"view": view}),
            {"tile": self.tiling.side},
            1 + self.tiling.uniforms,
        )
        self.view, self.encoder = view, encoder
        self.register_buffer("permutations", torch.tensor(distant(tiles**2, permutations)), persistent=False)
        self.head = mlp([tiles**2 * encoder.embedding_dim, hidden_dim, permutations])

    def forward(self, views: Views) -> Encoded:
        """Return embeddings (N, n² D) of the tiles in shuffled order, and the number (N,) of the permutation."""
        uniforms = views[UNIFORMS]
        embeddings = self.tiling.encode(self.encoder, views[self.view][:, 0], uniforms[:, 1:])
        answers = choice(uniforms[:, 0], len(self.permutations))
        order = self.permutations[answers]  # (N, n²)
        return {
            "embeddings": embeddings.gather(1, order[..., None].expand_as(embeddings)).flatten(1),
            "answers": answers,
        }

    def compare(self, encoded: Encoded, step: Step) -> StepOutput:
        """Return the mean cross-entropy in nats; chance is the log of the number of permutations."""
        return graded(self.head(encoded["embeddings"])[:, None], encoded["answers"][:, None])

    def predict(self, images: Tensor) -> Tensor:
        """Return probabilities (N, K) of the permutations for tiles that are not shuffled: the first one is right."""
        embeddings = self.tiling.encode(self.encoder, images)
        probabilities: Tensor = self.head(embeddings.flatten(1)).softmax(dim=1)
        return probabilities


@lru_cache(maxsize=4)
def distant(length: int, count: int) -> npt.NDArray[np.int64]:
    """Return permutations far from each other, (count, length); the first one is the identity.

    Each next permutation is chosen greedily: it has the largest sum of Hamming distances to those before it (algorithm
    1). Sums are often equal; the largest distance to the nearest one then decides, and after that lexicographic order.
    The paper draws the first one at random, and does not say how ties are broken.
    """
    every = _permutations(length)
    total, nearest = np.zeros(every.shape[1], dtype=np.int16), np.full(every.shape[1], length, dtype=np.int8)
    chosen = [0]
    while len(chosen) < count:
        distance = (every != every[:, chosen[-1], None]).sum(axis=0, dtype=np.int8)
        total += distance
        nearest = np.minimum(nearest, distance)
        best = np.flatnonzero(total == total[nearest > 0].max())  # a chosen one has distance 0 from itself
        chosen.append(int(best[nearest[best].argmax()]))
    return every[:, chosen].T.astype(np.int64)


def _permutations(length: int) -> npt.NDArray[np.int8]:
    """Return all permutations, (length, length!), in lexicographic order."""
    every = np.zeros((0, 1), dtype=np.int8)
    for _ in range(length):
        heads = range(len(every) + 1)
        every = np.concatenate([np.insert(every + (every >= head), 0, head, axis=0) for head in heads], axis=1)
    return every


@hookimpl
def register_pretext_tasks(register: Register) -> None:
    """Add `jigsaw`."""
    register("jigsaw", Jigsaw)
