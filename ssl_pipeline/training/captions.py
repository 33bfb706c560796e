"""The captions of a pool as a task that learns from texts is given them: tokens, and which captions are equal."""

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

_AT_ONCE = 10_000  # captions that are encoded at once
_MOST_KNOWN = 16  # captions of an image that a step is told of, as each costs it time


class Drawn(NamedTuple):
    """A caption of each of some images.

    Attributes:
        tokens: (n, L) int64, the drawn captions.
        captions: (n, M) int64, the ids of all captions of the images, the drawn one first; of an image that has more
            than 16, of that one and those that come after it.
    """

    tokens: npt.NDArray[np.int64]
    captions: npt.NDArray[np.int64]


class TokenizedCaptions:
    """All captions of a pool, encoded once, each in as many tokens as it has.

    Two captions of the same tokens are equal: no text tower can tell them apart.

    Args:
        tokenizer: The tokenizer.
        captions: The captions of each image.

    Attributes:
        tokenizer: The tokenizer.
        rows: (n,) int64, the rows of the images that have a caption.
        count: The number of captions.
        different: The number of different ones.
        truncated: The number of captions of which the end is cut off.
    """

    def __init__(self, tokenizer: Tokenizer, captions: Iterable[Sequence[str]]):
        self.tokenizer = tokenizer
        images = list(captions)
        counts = np.array([len(own) for own in images], np.int64)
        self._first = np.cumsum([0, *counts])  # (n + 1,): the place of an image's first caption among all
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
        """Draw a caption of each image: of several, the hashed numbers of the image and the epoch choose one.

        Args:
            rows: (n,) rows of images that have captions.
            ids: (n,) identities of these images.
            seed: The run's seed.
            epoch: The number of the epoch, from 0.
        """
        first, counts = self._first[rows], self._first[rows + 1] - self._first[rows]
        chosen = (uniforms(seed, epoch, ids, TOKENS, 1)[:, 0].astype(np.float64) * counts).astype(np.int64)
        told = min(self._most, _MOST_KNOWN)
        order = (chosen[:, None] + np.arange(told)) % counts[:, None]  # from the drawn one on, round and round
        starts, ends = self._starts[first + chosen], self._starts[first + chosen + 1]
        places = starts[:, None] + np.arange(self.tokenizer.context)  # (n, L)
        inside = places < ends[:, None]
        tokens = np.where(inside, self._tokens[np.where(inside, places, 0)], PADDING).astype(np.int64)
        return Drawn(tokens, self._ids[first[:, None] + order])


def tokenized(task: PretextTask, pool: Split) -> TokenizedCaptions | None:
    """Train a tokenizer on a pool's captions, encode them, and say how many there are; None for a task without texts.

    Raises:
        PipelineError: The task learns from texts, and the pool has no captions, or fewer than two different ones.
    """
    if task.text_tower is None:
        return None
    captions = () if pool.captions is None else pool.captions
    refuse_without_captions(task, len(captions))
    found = encode_captions(task.text_tower.needs, captions)
    images = len(found.rows)
    if found.different < 2:
        raise PipelineError(
            f"pretrain.recipe: it tells captions apart, and all captions of the {images} images that have some are the "
            f"same. {_REMEDY}"
        )
    cut, left = found.truncated, len(pool) - images
    said = f"pretrain: {found.count:,} captions of {images:,} images, {found.different:,} of them different"
    said += f"; a vocabulary of {found.tokenizer.size:,} tokens"
    said += f"; {cut:,} are cut off after {found.tokenizer.context} tokens" if cut else ""
    said += f"; {left:,} images have no caption, and are left out" if left else ""
    say(said)
    return found


def refuse_without_captions(task: PretextTask, captioned: int) -> None:
    """Refuse images for a task that learns from their captions, if none has any.

    Args:
        task: The task.
        captioned: The number of images that have a caption.

    Raises:
        PipelineError: No image has one.
    """
    if task.text_tower is not None and not captioned:
        raise PipelineError(
            f"pretrain.recipe: it learns from images and their captions, and no image has one. {_REMEDY}"
        )


def encode_captions(needs: TextNeeds, captions: Iterable[Sequence[str]]) -> TokenizedCaptions:
    """Train a tokenizer on the captions of some images, and encode them.

    Args:
        needs: How captions become tokens.
        captions: The captions of each image, which are gone through twice.
    """
    every = (caption for own in captions for caption in own)
    return TokenizedCaptions(tokenizer.train(every, needs.vocabulary, needs.context), captions)
