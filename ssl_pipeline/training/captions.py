"""The captions of a pool as input for tasks that learn from texts: tokens, and ids that show which ones are equal."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ssl_pipeline import tokenizer
from ssl_pipeline.data.store import Split
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.progress import say
from ssl_pipeline.randomness import uniforms
from ssl_pipeline.tokenizer import PADDING, Tokenizer
from ssl_pipeline.types import TOKENS, PretextTask, TextNeeds

__all__ = ["Drawn", "TokenizedCaptions", "encode_captions", "refuse_without_captions", "tokenized"]

_REMEDY = (
    "Give the images captions (labels.csv may have a column 'caption'; docs/text.md says what else is read), or choose "
    "a pretrain.recipe that learns from images alone."
)

_AT_ONCE = 10_000  # captions to encode at once
_MOST_KNOWN = 16  # largest number of captions per image that a step learns about, as each costs time


class Drawn(NamedTuple):
    """One drawn caption for each image of a batch.

    Attributes:
        tokens: Tokens (n, L) int64 of the drawn captions.
        captions: Ids (n, M) int64 of all captions of the images, the drawn one first. For an image with more than 16
            captions, these are the drawn one and the next 15.
    """

    tokens: npt.NDArray[np.int64]
    captions: npt.NDArray[np.int64]


class TokenizedCaptions:
    """All captions of a pool, encoded once and stored without padding.

    Two captions with the same tokens count as equal, as no text tower can tell them apart.

    Args:
        tokenizer: The tokenizer.
        captions: The captions of each image.

    Attributes:
        tokenizer: The tokenizer.
        rows: Rows (n,) int64 of the images that have a caption.
        count: The number of captions.
        different: The number of distinct captions.
        truncated: The number of captions that are cut off at the end.
    """

    def __init__(self, tokenizer: Tokenizer, captions: Iterable[Sequence[str]]):
        self.tokenizer = tokenizer
        images = list(captions)
        counts = np.array([len(own) for own in images], np.int64)
        self._first = np.cumsum([0, *counts])  # (n + 1,): index of each image's first caption
        self.rows = np.flatnonzero(counts).astype(np.int64)
        self._most = int(counts.max(initial=0))
        every = [caption for own in images for caption in own]
        parts, lengths, self.truncated = [], [np.zeros(0, np.int64)], 0
        for start in range(0, len(every), _AT_ONCE):
            found = tokenizer.encode(every[start : start + _AT_ONCE])
            parts.append(found.tokens[found.mask > 0].astype(np.int32))
            lengths.append(found.mask.sum(axis=1))
            self.truncated += int(found.truncated.sum())
        self._tokens = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        self._starts = np.cumsum(np.concatenate([np.zeros(1, np.int64), *lengths]))
        self._ids = np.array([self._id(place) for place in range(len(every))], np.int64)
        self.count, self.different = len(every), len(np.unique(self._ids))

    def _id(self, place: int) -> int:
        own = self._tokens[self._starts[place] : self._starts[place + 1]]
        return int.from_bytes(hashlib.blake2b(own.tobytes(), digest_size=8).digest(), "little", signed=True)

    def drawn(self, rows: npt.NDArray[np.integer], ids: npt.NDArray[np.uint64], seed: int, epoch: int) -> Drawn:
        """Draw one caption per image, chosen by a hash of the seed, the epoch and the image.

        Args:
            rows: Rows (n,) of images that have captions.
            ids: Ids (n,) of these images.
            seed: The seed of the run.
            epoch: The number of the epoch, from 0.
        """
        first, counts = self._first[rows], self._first[rows + 1] - self._first[rows]
        chosen = (uniforms(seed, epoch, ids, TOKENS, 1)[:, 0].astype(np.float64) * counts).astype(np.int64)
        told = min(self._most, _MOST_KNOWN)
        order = (chosen[:, None] + np.arange(told)) % counts[:, None]  # from the drawn caption on, cyclically
        starts, ends = self._starts[first + chosen], self._starts[first + chosen + 1]
        places = starts[:, None] + np.arange(self.tokenizer.context)  # (n, L)
        inside = places < ends[:, None]
        tokens = np.where(inside, self._tokens[np.where(inside, places, 0)], PADDING).astype(np.int64)
        return Drawn(tokens, self._ids[first[:, None] + order])


def tokenized(task: PretextTask, pool: Split) -> TokenizedCaptions | None:
    """Train a tokenizer on a pool's captions, encode them and print their number; None for a task without texts.

    Raises:
        PipelineError: The task learns from texts, but the pool has no captions or fewer than two distinct ones.
    """
    if task.text_tower is None:
        return None
    captions = () if pool.captions is None else pool.captions
    refuse_without_captions(task, len(captions))
    found = encode_captions(task.text_tower.needs, captions)
    images = len(found.rows)
    if found.different < 2:
        raise PipelineError(
            f"pretrain.recipe: it learns to tell captions apart, but all captions of the {images} captioned images are "
            f"the same. {_REMEDY}"
        )
    cut, left = found.truncated, len(pool) - images
    said = f"pretrain: {found.count:,} captions of {images:,} images, {found.different:,} of them distinct"
    said += f"; a vocabulary of {found.tokenizer.size:,} tokens"
    said += f"; {cut:,} are cut off after {found.tokenizer.context} tokens" if cut else ""
    said += f"; {left:,} images without a caption are left out" if left else ""
    say(said)
    return found


def refuse_without_captions(task: PretextTask, captioned: int) -> None:
    """Refuse a task that learns from captions if no image has one.

    Args:
        task: The task.
        captioned: The number of images that have a caption.

    Raises:
        PipelineError: The task learns from captions, and no image has one.
    """
    if task.text_tower is not None and not captioned:
        raise PipelineError(
            f"pretrain.recipe: it learns from images and their captions, but no image has a caption. {_REMEDY}"
        )


def encode_captions(needs: TextNeeds, captions: Iterable[Sequence[str]]) -> TokenizedCaptions:
    """Train a tokenizer on the captions of some images, and encode them.

    Args:
        needs: The tokenizer's settings: sizes of the vocabulary and the context.
        captions: The captions of each image; they are iterated over twice.
    """
    every = (caption for own in captions for caption in own)
    return TokenizedCaptions(tokenizer.train(every, needs.vocabulary, needs.context), captions)
