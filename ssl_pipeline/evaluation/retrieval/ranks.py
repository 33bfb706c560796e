"""Rank of the first correct answer in retrieval of images by text and of texts by image.

A caption is correct for every image that has it, so that equal captions of different images are all correct. Each
different text is a single candidate, however often it occurs; otherwise, a wrong text that a hundred images have would
occupy a hundred ranks. Captions that differ only in capitals or white space are equal, as they are for the tokenizer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.neighbours import unit
from ssl_pipeline.tokenizer import normalised

__all__ = ["Pairs", "chance_within", "pair", "ranks_of_first_right"]

Rows = npt.NDArray[np.floating[Any]]
Numbers = npt.NDArray[np.int64]

_QUERIES = 512  # queries that are compared with all candidates at once
_EQUAL = 1e-6
"""Difference below which cosines are equal, because embeddings are float32."""


@dataclass(frozen=True)
class Pairs:
    """The m pairs of an image and one of its captions.

    Attributes:
        texts: Different captions (T), in the order in which they first occur.
        images: Number of the image of each pair (m,), int64, in [0, n).
        numbers: Number of the text of each pair (m,), int64, in [0, T).
        count: Number of images, n, some of which may have no caption.
    """

    texts: tuple[str, ...]
    images: Numbers
    numbers: Numbers
    count: int

    @property
    def right(self) -> Any:
        """Whether a text is correct for an image, (n, T) bool, sparse."""
        from scipy.sparse import csr_array

        ones = np.ones(len(self.images), np.bool_)
        return csr_array((ones, (self.images, self.numbers)), shape=(self.count, len(self.texts)))


def pair(captions: Sequence[Sequence[str]]) -> Pairs:
    """Return the pairs of images and captions, given the captions of each image; blank captions are left out."""
    known: dict[str, tuple[int, str]] = {}  # normalised text -> its number, and the text as it first occurs
    places: dict[tuple[int, int], None] = {}
    for image, texts in enumerate(captions):
        for text in texts:
            if key := normalised(text):
                places[image, known.setdefault(key, (len(known), text))[0]] = None
    images, numbers = np.array(list(places), np.int64).reshape(-1, 2).T
    return Pairs(tuple(text for _, text in known.values()), images, numbers, len(captions))


def ranks_of_first_right(queries: Any, candidates: Any, right: Any, *, but_itself: bool = False) -> Numbers:
    """Return the rank of the first correct candidate by cosine for each query, from 1.

    Among equally near candidates, wrong ones come first, so that towers that map everything to one point find nothing.
    A vector of zeros has a cosine of 0 with all others.

    Args:
        queries: Vectors of any length (q, D), dense or sparse.
        candidates: Vectors of any length (c, D), dense or sparse.
        right: Whether a candidate is correct for a query, (q, c) bool, sparse; each query has at least one.
        but_itself: Whether the candidates are the queries themselves, which are then no answers to themselves.

    Returns:
        Ranks (q,), int64, from 1 to c.

    Raises:
        ValueError: A query has no correct candidate, or a value is not finite.
    """
    ours, theirs = _unit(queries), _unit(candidates)
    found = np.empty(ours.shape[0], np.int64)
    for start in range(0, len(found), _QUERIES):
        rows = slice(start, start + _QUERIES)
        cosines, allowed = ours[rows] @ theirs.T, right[rows].toarray()
        if but_itself:
            numbers = np.arange(len(cosines))
            cosines[numbers, start + numbers] = -np.inf
            allowed[numbers, start + numbers] = False
        if not allowed.any(axis=1).all():
            raise ValueError("a query has no right candidate")
        nearest = np.where(allowed, cosines, -np.inf).max(axis=1, keepdims=True)
        found[rows] = 1 + ((cosines >= nearest - _EQUAL) & ~allowed).sum(axis=1)
    return found


def _unit(rows: Any) -> Any:
    """Return rows (n, D) scaled to unit length, in float64; sparse rows stay sparse."""
    from scipy.sparse import csr_array, issparse

    values: Any = csr_array(rows, dtype=np.float64) if issparse(rows) else np.asarray(rows, np.float64)
    if not np.isfinite(values.data if issparse(values) else values).all():
        raise ValueError("embeddings have values that are not finite")
    if not issparse(values):
        return unit(values)
    lengths = np.sqrt(values.multiply(values).sum(axis=1))
    return values.multiply(1 / np.where(lengths > 0, lengths, 1)[:, None]).tocsr()


def chance_within(k: int, right: Numbers, candidates: int) -> Rows:
    """Return the probability that a random order has a correct candidate among the first k.

    Args:
        k: Number of first candidates to consider.
        right: Number of correct candidates of each query (q,).
        candidates: Number of candidates.

    Returns:
        Probabilities (q,), float64: 1 minus the hypergeometric probability of no correct candidate.
    """
    from scipy.stats import hypergeom

    return 1 - np.asarray(hypergeom.pmf(0, candidates, right, min(k, candidates)), np.float64)
