"""How far down the list the first right answer stands, where images are asked for by text and texts by image.

A caption belongs to every image that has it, so that equal captions of different images are all right. Texts are
compared once each, however often they occur: a wrong text that a hundred images have would take a hundred ranks.
Captions that differ in capitals or in white space alone are equal, as they are to a tokenizer.
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

_QUERIES = 512  # queries at a time, each of which is compared with all candidates
_EQUAL = 1e-6
"""Cosines that differ by less are equal: embeddings are float32."""


@dataclass(frozen=True)
class Pairs:
    """Which captions belong to which of n images.

    Attributes:
        texts: T different captions, in the order in which they first occur.
        images: (m,) int64, for each caption of an image the number of the image, in [0, n).
        numbers: (m,) int64, for the same captions the number of the text, in [0, T).
        count: n, the number of images; some may have no caption.
    """

    texts: tuple[str, ...]
    images: Numbers
    numbers: Numbers
    count: int

    @property
    def right(self) -> Any:
        """Which texts are right for which images: (n, T) bool, sparse."""
        from scipy.sparse import csr_array

        ones = np.ones(len(self.images), np.bool_)
        return csr_array((ones, (self.images, self.numbers)), shape=(self.count, len(self.texts)))


def pair(captions: Sequence[Sequence[str]]) -> Pairs:
    """Return which captions belong to which images, given the captions of each image; blank ones are left out."""
    known: dict[str, tuple[int, str]] = {}  # a text as it is read -> its number, and the text as it first occurs
    places: dict[tuple[int, int], None] = {}
    for image, texts in enumerate(captions):
        for text in texts:
            if key := normalised(text):
                places[image, known.setdefault(key, (len(known), text))[0]] = None
    images, numbers = np.array(list(places), np.int64).reshape(-1, 2).T
    return Pairs(tuple(text for _, text in known.values()), images, numbers, len(captions))


def ranks_of_first_right(queries: Any, candidates: Any, right: Any, *, but_itself: bool = False) -> Numbers:
    """Return for each query the rank of the first right candidate by cosine, from 1.

    Of candidates that are equally near, the wrong ones come first, so that towers that map all to one point find
    nothing. A vector of zeros has a cosine of 0 with all others.

    Args:
        queries: (q, D) vectors of any length, dense or sparse.
        candidates: (c, D) vectors of any length, dense or sparse.
        right: (q, c) bool, sparse: which candidates are right; at least one for each query.
        but_itself: Whether candidates are the queries themselves, none of which counts as its own answer.

    Returns:
        (q,) int64, from 1 to c.

    Raises:
        ValueError: A query has no right candidate, or a value is not finite.
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
    """Return rows (n, D) of unit length in float64, sparse ones where they were."""
    from scipy.sparse import csr_array, issparse

    values: Any = csr_array(rows, dtype=np.float64) if issparse(rows) else np.asarray(rows, np.float64)
    if not np.isfinite(values.data if issparse(values) else values).all():
        raise ValueError("embeddings have values that are not finite")
    if not issparse(values):
        return unit(values)
    lengths = np.sqrt(values.multiply(values).sum(axis=1))
    return values.multiply(1 / np.where(lengths > 0, lengths, 1)[:, None]).tocsr()


def chance_within(k: int, right: Numbers, candidates: int) -> Rows:
    """Return how likely a random order has a right candidate among the first k.

    Args:
        k: The number of candidates that are looked at.
        right: (q,) numbers of right candidates of each query.
        candidates: The number of candidates.

    Returns:
        (q,) float64: 1 less the hypergeometric probability of none.
    """
    from scipy.stats import hypergeom

    return 1 - np.asarray(hypergeom.pmf(0, candidates, right, min(k, candidates)), np.float64)
