"""The ranks that false negatives may take among an anchor's keys, if it is not known which ones are false.

An image is of the anchor's class with probability 1 / classes, and then all of its keys are false negatives: two views
of it in a batch, or several of its keys in a queue, are a single draw.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from ssl_pipeline.types import Negatives

__all__ = ["KeyCounts", "key_counts", "rank_for"]


KeyCounts = tuple[tuple[int, int], ...]
"""Pairs (keys per image, number of such images), most keys first, without the anchor's own image.

They are the same for all anchors. If anchors differ, they overstate the number of false negatives.
"""


@torch.no_grad()
def key_counts(negatives: Negatives) -> KeyCounts:
    """Return how many images the keys of some negatives are views of, and how many keys each image has."""
    lengths = [len(negatives.anchor_samples), len(negatives.key_samples)]
    both = torch.cat([negatives.anchor_samples, negatives.key_samples]).cpu()  # waits for a device once
    anchors, keys = torch.split(both, lengths)
    images, counts = torch.unique(keys, return_counts=True)
    held = Counter(counts.tolist())
    if len(images):
        place = torch.searchsorted(images, anchors).clamp(max=len(images) - 1)
        of_own = torch.where(images[place] == anchors, counts[place], 0)  # (A,)
        if fewest := int(of_own.min()):
            held[fewest] -= 1
    return tuple(sorted((+held).items(), reverse=True))


def rank_for(probability: float, classes: int, count: int, keys: KeyCounts) -> int:
    """Return the smallest rank k at which a negative is a false one with at most this probability.

    Each image is of the anchor's class with probability 1 / classes, and the keys of such images are assumed to be the
    nearest: the k-th key is a false negative if there are at least k of them.

    Args:
        probability: Bound on the probability, in (0, 1).
        classes: Number of classes, at least 2, which are equally frequent.
        count: Number of negatives. If a strategy left some out, the images with the most keys are assumed to remain.
        keys: Numbers of keys that images have.

    Returns:
        The rank, in [1, count]: `count` if no rank attains the probability, and 1 if there are no negatives.

    Source: Wang et al. 2021 (2104.08760), section 3.2, where each image has one key.
    """
    images, left = [], count
    for of_each, number in keys:
        kept = min(number, -(-left // of_each)) if left > 0 else 0
        left -= kept * of_each
        if kept:
            images.append((of_each, kept))
    return max(1, min(_most_false(probability, classes, tuple(images)) + 1, count))


@lru_cache(maxsize=64)
def _most_false(probability: float, classes: int, images: Sequence[tuple[int, int]]) -> int:
    """Return the smallest x with P(X > x) <= probability, X being the number of false negatives."""
    from scipy.stats import binom  # takes a while to import

    if len(images) <= 1:  # exact, however small the probability
        return sum(keys * int(binom.isf(probability, number, 1 / classes)) for keys, number in images)
    from scipy.signal import fftconvolve

    total: npt.NDArray[np.float64] = np.ones(1)
    for keys, number in images:
        spread = np.zeros(keys * number + 1)
        spread[::keys] = binom.pmf(np.arange(number + 1), number, 1 / classes)
        total = fftconvolve(total, spread).clip(min=0)
    above = total[::-1].cumsum()[::-1] - total  # P(X > x)
    return int(np.argmax(above <= probability))
