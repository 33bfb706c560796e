"""Images as points of a map: near each other where their embeddings are.

t-SNE: van der Maaten and Hinton 2008, "Visualizing Data using t-SNE"; from the two principal components, as Kobak and
Berens advise (2019, "The art of using t-SNE for single-cell transcriptomics"), so that large distances keep a meaning.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ssl_pipeline.deployment.runtime import open_session, run
from ssl_pipeline.page.pile import Pile, Positions
from ssl_pipeline.progress import track

__all__ = ["embed", "lay_out", "principal"]

Features = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

_AT_A_TIME = 4_000_000  # pixels of a batch
_PERPLEXITY = 30.0  # neighbours that a point heeds, roughly
_STEPS = 500
"""Steps of gradient descent: for 2,000 images 3 s on one core, for 10,000 25 s."""


def embed(backbone: Path, pile: Pile, positions: Positions) -> Features:
    """Return the exported backbone's embeddings (m, D) of stored images, of unit length.

    Args:
        backbone: backbone.onnx.
        pile: The images.
        positions: Positions (m,) of at least one of them.

    Raises:
        PipelineError: The graph cannot be run, or the store is damaged.
    """
    session = open_session(backbone)
    step = int(np.clip(_AT_A_TIME // pile.splits[0].canvas ** 2, 1, 256))
    starts = range(0, len(positions), step)
    parts = (run(session, pile.images(positions[start : start + step])) for start in starts)
    embeddings = np.concatenate(list(track(parts, "embeddings", total=len(starts))))
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return np.asarray(embeddings / np.maximum(lengths, np.finfo(np.float32).tiny))


def lay_out(embeddings: Features) -> Points:
    """Return places on the map (n, 2) in [0, 1], by t-SNE; the longer side of the map is filled.

    The same embeddings have the same places on the same machine: there is no chance in it, and one thread computes it.

    Args:
        embeddings: Embeddings (n, D), n >= 1, D >= 1.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    start = principal(embeddings)
    spread = start[:, 0].std()
    if len(embeddings) < 5 or spread == 0:  # too few to have neighbours, or all in one place
        return _to_unit_square(start)
    perplexity = min(_PERPLEXITY, (len(embeddings) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init=(start / spread * 1e-4).astype(np.float32), max_iter=_STEPS, random_state=0)
    with threadpool_limits(1):
        return _to_unit_square(tsne.fit_transform(embeddings).astype(np.float64))


def principal(embeddings: Features) -> Points:
    """Return the first two principal components (n, 2); of each, the largest weight is positive.

    Args:
        embeddings: Embeddings (n, D), n >= 1, D >= 1.
    """
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :2]
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    found = centred @ axes
    return np.pad(found, ((0, 0), (0, 2 - found.shape[1])))


def _to_unit_square(places: Points) -> Points:
    low, high = places.min(axis=0), places.max(axis=0)
    longest = (high - low).max()
    if longest == 0:
        return np.full_like(places, 0.5)
    return np.asarray((places - (low + high) / 2) / longest + 0.5)
