"""How deep an anchor's false negatives reach among its keys, where nobody knows which ones are false.

An image is of the anchor's class with probability 1 / classes, and then all of its keys are false negatives: two views
of it in a batch, or several of its keys in a queue, are one draw and not several.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ssl_pipeline.types import Negatives

__all__ = ["KeyCounts", "key_counts", "rank_for"]


class KeyCounts(NamedTuple):
    """How many keys each other image has.

    One answer serves all anchors: where they differ, it overstates the false negatives.

    Attributes:
        images: Pairs (keys per image, number of such images), most keys first, without the anchor's own image.
        own: Number of keys of the anchor's own image that count as negatives: they are false ones for sure.
    """

    images: tuple[tuple[int, int], ...]
    own: int = 0


@torch.no_grad()
def key_counts(negatives: Negatives) -> KeyCounts:
    """How many images the keys of some negatives are of, and how many keys each of them has.

    Keys that are nobody's are taken to be of images of their own, unless `negatives.key_images` says whose they are.
    """
    anchor_samples, key_samples, anchors, keys = _on_the_cpu(negatives)
    nobody = keys < 0 if negatives.key_images is None else torch.zeros_like(keys, dtype=torch.bool)
    images, counts = torch.unique(keys[~nobody], return_counts=True)
    held = Counter(counts.tolist())
    if nobody.any():
        held[1] += int(nobody.sum())
    if not len(images):
        return KeyCounts(tuple(sorted(held.items(), reverse=True)))
    place = torch.searchsorted(images, anchors).clamp(max=len(images) - 1)
    of_own = torch.where(images[place] == anchors, counts[place], 0)  # (A,)
    if fewest := int(of_own.min()):
        held[fewest] -= 1
    left_out = _count(key_samples, anchor_samples)
    return KeyCounts(tuple(sorted((+held).items(), reverse=True)), int((of_own - left_out).max()))


def _on_the_cpu(negatives: Negatives) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The samples of anchors and keys, and their images, which are the samples where nobody knows more.

    A device is waited for once, and not at each of the numbers that are read from them.
    """
    vectors = [negatives.anchor_samples, negatives.key_samples]
    if negatives.anchor_images is not None and negatives.key_images is not None:
        vectors += [negatives.anchor_images, negatives.key_images]
    found = torch.split(torch.cat(vectors).cpu(), [len(vector) for vector in vectors])
    return found[0], found[1], found[-2], found[-1]


def _count(keys: Tensor, wanted: Tensor) -> Tensor:
    """How many keys are of each sample that is wanted."""
    ordered = keys.sort().values
    return torch.searchsorted(ordered, wanted, right=True) - torch.searchsorted(ordered, wanted)


def rank_for(probability: float, classes: int, count: int, keys: KeyCounts) -> int:
    """The smallest rank k at which a negative is a false one with at most this probability.

    Each image is of the anchor's own class with probability 1 / classes, and the keys of those that are, are taken to
    be the nearest: the k-th is a false one where there are at least k of them.

    Args:
        probability: Bound on the probability, in (0, 1).
        classes: Number of classes, at least 2, equally frequent.
        count: Number of negatives. Where a strategy left some out, the images with the most keys are assumed to remain.
        keys: How many keys each image has.

    Returns:
        In [1, count]; `count` where no rank attains the probability, 1 for no negatives.

    Source: Wang et al. 2021 (2104.08760), section 3.2, where each image has one key.
    """
    images, left = [], count - keys.own
    for of_each, number in keys.images:
        kept = min(number, -(-left // of_each)) if left > 0 else 0
        left -= kept * of_each
        if kept:
            images.append((of_each, kept))
    return max(1, min(keys.own + _most_false(probability, classes, tuple(images)) + 1, count))


@lru_cache(maxsize=64)
def _most_false(probability: float, classes: int, images: Sequence[tuple[int, int]]) -> int:
    """The smallest x with P(X > x) <= probability, X being the number of false negatives."""
    from scipy.stats import binom  # takes a while to import

    if len(images) <= 1:  # exactly, however small the probability
        return sum(keys * int(binom.isf(probability, number, 1 / classes)) for keys, number in images)
    from scipy.signal import fftconvolve

    total: npt.NDArray[np.float64] = np.ones(1)
    for keys, number in images:
        spread = np.zeros(keys * number + 1)
        spread[::keys] = binom.pmf(np.arange(number + 1), number, 1 / classes)
        total = fftconvolve(total, spread).clip(min=0)
    above = total[::-1].cumsum()[::-1] - total  # P(X > x)
    return int(np.argmax(above <= probability))
