"""What text has to beat: a linear map from frozen features of images to the words of their captions.

The map is ridge regression (Hoerl and Kennard 1970, "Ridge regression: biased estimation for nonorthogonal problems")
from standardised features to a bag of words, weighted by tf-idf and of unit length. An image is then compared with a
text by the cosine of the words that the map expects of it and those of the text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ssl_pipeline.evaluation.retrieval.ranks import pair, ranks_of_first_right

__all__ = ["STRENGTHS", "WordMap", "fit_words"]

Features = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]

STRENGTHS = tuple(10.0**power for power in range(-4, 3))
"""Penalties that are tried, in units of the number of images: features are standardised."""
_MOST_WORDS = 2_000  # the most frequent ones
_HELD_OUT = 5  # one group in so many is kept for choosing the penalty


@dataclass(frozen=True)
class WordMap:
    """A linear map from features of images to words, and what words texts have.

    Attributes:
        mean: Means (D,) of the features.
        std: Standard deviations (D,) of the features; 1 where one does not vary.
        weight: Weights (D, W) of standardised features.
        bias: The mean bag of words, (W,).
        penalty: The penalty that was chosen.
        vectorizer: scikit-learn's `TfidfVectorizer` of W words.
    """

    mean: Float64
    std: Float64
    weight: Float64
    bias: Float64
    penalty: float
    vectorizer: Any

    def images(self, features: Features) -> Float64:
        """Return the words (n, W) that are expected of images with features (n, D)."""
        standardised = (features - self.mean) / self.std
        return np.asarray(standardised @ self.weight + self.bias)

    def texts(self, texts: Sequence[str]) -> Any:
        """Return the words (m, W) of texts, sparse, as a text has few of them; zeros for one that has no known word."""
        return self.vectorizer.transform(texts)


def fit_words(features: Features, captions: Sequence[Sequence[str]], groups: Numbers) -> WordMap | None:
    """Learn which words images have.

    The penalty is that with the best mean reciprocal rank of the texts of images of held-out groups, one group in five;
    the map is then learned from all.

    Args:
        features: (n, D) features of images, from an encoder that stays as it is.
        captions: The captions of each image, which count as one text; images without any are passed over.
        groups: (n,) numbers, equal for images of one group.

    Returns:
        The map; None where captions have no word, or all images are of one group.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = np.array([row for row, texts in enumerate(captions) if any(text.strip() for text in texts)], np.int64)
    texts = ["\n".join(captions[row]) for row in rows]
    vectorizer = TfidfVectorizer(token_pattern=r"(?u)\w+", max_features=_MOST_WORDS, dtype=np.float64)
    held_out = np.unique(groups[rows], return_inverse=True)[1] % _HELD_OUT == 0
    if held_out.all():
        return None
    try:
        words = vectorizer.fit_transform(texts)
    except ValueError:  # there is no word
        return None
    some, kept = rows[~held_out], rows[held_out]
    best, best_score = STRENGTHS[0], -1.0
    kept_pairs = pair([captions[row] for row in kept])
    for penalty in STRENGTHS:
        tried = _ridge(features[some], words[~held_out], penalty, vectorizer)
        ranks = ranks_of_first_right(tried.images(features[kept]), tried.texts(kept_pairs.texts), kept_pairs.right)
        reciprocal = float((1 / ranks).mean())
        if reciprocal > best_score:
            best, best_score = penalty, reciprocal
    return _ridge(features[rows], words, best, vectorizer)


def _ridge(features: Features, words: Any, penalty: float, vectorizer: Any) -> WordMap:
    """Return the map that minimises the squared error plus the penalty times n times the squared weights."""
    values = features.astype(np.float64)
    mean, std = values.mean(axis=0), values.std(axis=0)
    std = np.where(std > 0, std, 1.0)
    standardised, bias = (values - mean) / std, np.asarray(words.mean(axis=0)).ravel()
    squares = standardised.T @ standardised + penalty * len(values) * np.eye(values.shape[1])
    # features have a mean of 0, so that it does not matter that words are not centred
    weight = np.linalg.solve(squares, (words.T @ standardised).T)
    return WordMap(mean, std, weight, bias, penalty, vectorizer)
