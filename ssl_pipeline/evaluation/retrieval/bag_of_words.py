"""A baseline for text towers: a linear map from frozen features of images to the words of their captions.

The map is ridge regression (Hoerl and Kennard 1970, "Ridge regression: biased estimation for nonorthogonal problems")
from standardised features to a bag of words, weighted by tf-idf and of unit length. The similarity of an image and a
text is the cosine between the words that the map predicts for the image and the words of the text.
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
"""Penalties to try, as multiples of the number of images; they suit standardised features."""
_MOST_WORDS = 2_000  # only the most frequent words are used
_HELD_OUT = 5  # one group in five is held out to choose the penalty


@dataclass(frozen=True)
class WordMap:
    """A linear map from features of images to words, with the vectorizer of texts.

    Attributes:
        mean: Means of the features (D,).
        std: Standard deviations of the features (D,); 1 for a feature that does not vary.
        weight: Weights of the standardised features (D, W).
        bias: Mean bag of words (W,).
        penalty: Chosen penalty.
        vectorizer: Fitted `TfidfVectorizer` of scikit-learn, with W words.
    """

    mean: Float64
    std: Float64
    weight: Float64
    bias: Float64
    penalty: float
    vectorizer: Any

    def images(self, features: Features) -> Float64:
        """Return the words (n, W) that the map predicts for images with features (n, D)."""
        standardised = (features - self.mean) / self.std
        return np.asarray(standardised @ self.weight + self.bias)

    def texts(self, texts: Sequence[str]) -> Any:
        """Return the words of texts (m, W), sparse because a text has few words; zeros for a text of unknown words."""
        return self.vectorizer.transform(texts)


def fit_words(features: Features, captions: Sequence[Sequence[str]], groups: Numbers) -> WordMap | None:
    """Fit the map from features of images to the words of their captions.

    The penalty is the one with the best mean reciprocal rank of texts for images of held-out groups, which are one
    group in five; the map is then fitted to all images.

    Args:
        features: Features of images (n, D), from a frozen encoder.
        captions: Captions of each image, which are joined into one text; images without captions are skipped.
        groups: Group numbers (n,), equal for images of one group.

    Returns:
        The fitted map; None if the captions contain no word, or if all images with captions belong to one group.
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
    except ValueError:  # the captions contain no word
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
    # words need not be centred, because the features have a mean of 0
    weight = np.linalg.solve(squares, (words.T @ standardised).T)
    return WordMap(mean, std, weight, bias, penalty, vectorizer)
