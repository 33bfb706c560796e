"""A two-dimensional map of embeddings, on which near neighbours stay near.

t-SNE: van der Maaten and Hinton 2008, "Visualizing Data using t-SNE". It starts from the first two principal
components, as Kobak and Berens advise (2019, "The art of using t-SNE for single-cell transcriptomics"), so that large
distances keep some meaning.
"""

import numpy as np
import numpy.typing as npt

__all__ = ["lay_out", "principal"]

Features = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]

_PERPLEXITY = 30.0  # roughly the number of neighbours that determine where a point lies
_STEPS = 500
"""Number of steps of gradient descent; on one core, 2,000 images take 3 s and 10,000 images 25 s."""


def lay_out(embeddings: Features) -> Points:
    """Return coordinates on the map (n, 2) in [0, 1] by t-SNE; the points span the longer side of the map.

    The layout involves no randomness and runs on one thread, so that on one machine the same embeddings always get the
    same coordinates.

    Args:
        embeddings: Embeddings (n, D), n >= 1, D >= 1.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    start = principal(embeddings)
    spread = start[:, 0].std()
    if len(embeddings) < 5 or spread == 0:  # too few points for neighbours, or all points equal
        return _to_unit_square(start)
    perplexity = min(_PERPLEXITY, (len(embeddings) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init=(start / spread * 1e-4).astype(np.float32), max_iter=_STEPS, random_state=0)
    with threadpool_limits(1):
        return _to_unit_square(tsne.fit_transform(embeddings).astype(np.float64))


def principal(embeddings: Features) -> Points:
    """Return the first two principal components (n, 2), with signs that make the largest weight of each axis positive.

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
