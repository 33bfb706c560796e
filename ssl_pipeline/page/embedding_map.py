"""Images as points of a map: near each other where their embeddings are.

t-SNE: van der Maaten and Hinton 2008, "Visualizing Data using t-SNE"; from the two principal components, as Kobak and
Berens advise (2019, "The art of using t-SNE for single-cell transcriptomics"), so that large distances keep a meaning.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["lay_out", "principal"]

Features = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

_PERPLEXITY = 30.0  # neighbours that a point heeds, roughly
_STEPS = 500
"""Steps of gradient descent: for 2,000 images 3 s on one core, for 10,000 25 s."""


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
