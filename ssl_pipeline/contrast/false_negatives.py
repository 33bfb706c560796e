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

from ssl_pipeline.types import Negatives

__all__ = ["Draws", "draws", "rank_for"]


class Draws(NamedTuple):
    """What of an anchor's keys is left to chance; equal for all anchors, and for none of them too little.

    Attributes:
        images: (keys of an image, how many images have as many), most keys first, without the anchor's own image.
        own: Keys of the anchor's own image that count as negatives: they are false ones for sure.
    """

    images: tuple[tuple[int, int], ...]
    own: int = 0


@torch.no_grad()
def draws(negatives: Negatives) -> Draws:
    """How many images the keys of some negatives are of, and how many keys each of them has.

    Keys that are nobody's are taken to be of images of their own, unless `negatives.key_images` says whose they are.
    """
    anchors, keys = negatives.anchor_images, negatives.key_images
    if anchors is None or keys is None:
        anchors, keys = negatives.anchor_samples, negatives.key_samples
    nobody = keys < 0 if negatives.key_images is None else torch.zeros_like(keys, dtype=torch.bool)
    images, counts = torch.unique(keys[~nobody], return_counts=True)
    held = Counter(counts.tolist())
    if nobody.any():
        held[1] += int(nobody.sum())
    if not len(images):
        return Draws(tuple(sorted(held.items(), reverse=True)))
    place = torch.searchsorted(images, anchors).clamp(max=len(images) - 1)
    of_own = torch.where(images[place] == anchors, counts[place], 0)  # (A,)
    if fewest := int(of_own.min()):
        held[fewest] -= 1
    left_out = _count(negatives.key_samples, negatives.anchor_samples)
    return Draws(tuple(sorted((+held).items(), reverse=True)), int((of_own - left_out).max()))


def _count(keys: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """How many keys are of each sample that is wanted."""
    ordered = keys.sort().values
    wanted = wanted.contiguous()
    return torch.searchsorted(ordered, wanted, right=True) - torch.searchsorted(ordered, wanted)


def rank_for(probability: float, classes: int, count: int, drawn: Draws) -> int:
    """The smallest rank k at which a negative is a false one with at most this probability.

    Each image is of the anchor's own class with probability 1 / classes, and the keys of those that are, are taken to
    be the nearest: the k-th is a false one where there are at least k of them.

    Args:
        probability: In (0, 1).
        classes: At least 2, equally frequent.
        count: Of negatives; where a strategy has left some out, images with many keys are taken to be left.
        drawn: Whose keys these are.

    Returns:
        In [1, count]; `count` where no rank attains the probability, 1 for no negatives.

    Source: Wang et al. 2021 (2104.08760), section 3.2, which has a key an image.
    """
    images, left = [], count - drawn.own
    for keys, number in drawn.images:
        kept = min(number, -(-left // keys)) if left > 0 else 0
        left -= kept * keys
        if kept:
            images.append((keys, kept))
    return max(1, min(drawn.own + _most_false(probability, classes, tuple(images)) + 1, count))


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
