"""Inputs of the evaluation with text: the towers that ship, captioned images, and untrained towers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from ssl_pipeline.artifacts.assembly import build_task, untrained
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.data.labelled import Labelled
from ssl_pipeline.data.labels import read_labels
from ssl_pipeline.data.store import SplitName, open_split
from ssl_pipeline.deployment.runtime import TEXT
from ssl_pipeline.deployment.text_graph import OfTokens
from ssl_pipeline.evaluation.features import Embed, sample
from ssl_pipeline.evaluation.linear.baselines import random_encoder
from ssl_pipeline.evaluation.retrieval.zero_shot import EmbedTexts
from ssl_pipeline.products import verified
from ssl_pipeline.registry import Registry
from ssl_pipeline.runtime import TextTower
from ssl_pipeline.tokenizer import TOKENIZER, Tokenizer

__all__ = ["Captioned", "TextInputs", "Towers", "captioned", "open_texts", "untrained_towers"]

_MOST_ASKED = 5_000  # images to evaluate, as many as in the usual test of COCO
_MOST_LEARNED_FROM = 10_000  # images to fit the linear map to


class Captioned(NamedTuple):
    """Images with captions.

    Attributes:
        images: Images with their groups; an image without a label has the label -1.
        captions: Captions of each image, at least one.
    """

    images: Labelled
    captions: Sequence[tuple[str, ...]]


class Towers(NamedTuple):
    """Two functions that map canvases (to (n, D)) and texts (to (m, D)) into one space."""

    images: Embed
    texts: EmbedTexts


@dataclass(frozen=True)
class TextInputs:
    """Inputs of the evaluation with text, beside those of the linear evaluation.

    Attributes:
        texts: Exported text tower.
        untrained: Untrained towers of the same architecture.
        learned: Captioned training images.
        asked: Captioned images to evaluate on: test images or, if none has a caption, validation images.
    """

    texts: EmbedTexts
    untrained: Towers
    learned: Captioned
    asked: Captioned


def open_texts(
    store: Path, registry: Registry, card: ModelCard, backbone: Path, *, l2_normalize: bool, seed: int
) -> TextInputs | None:
    """Open the text tower that ships, and the images to evaluate it on; return None if the model does not read text.

    Args:
        store: Folder of the store of images.
        registry: Registry of the pretext task.
        card: Card of the trained encoder.
        backbone: Path of the exported backbone, beside which the text tower lies.
        l2_normalize: Whether the exported embeddings have unit length.
        seed: Seed of the untrained towers.

    Raises:
        PipelineError: A product is missing or damaged.
    """
    path = backbone.with_name(TEXT)
    if not path.exists():
        return None
    tower = TextTower(verified(path, "export"))
    learned = captioned(store, "train", _MOST_LEARNED_FROM)
    asked = captioned(store, "test", _MOST_ASKED)
    if not asked.captions:
        asked = captioned(store, "val", _MOST_ASKED)
    tokenizer = Tokenizer.read(verified(path.with_name(TOKENIZER), "export"))
    towers = untrained_towers(registry, card, tokenizer, learned.images, l2_normalize=l2_normalize, seed=seed)
    return TextInputs(tower, towers, learned, asked)


def captioned(store: Path, name: SplitName, most: int) -> Captioned:
    """Return the captioned images of a split; if there are more than `most`, a sample spread evenly over them."""
    split, known = open_split(store, name), read_labels(store, name)
    counts = np.zeros(len(split), np.int64) if split.captions is None else split.captions.counts
    rows = np.flatnonzero(counts)
    rows = rows[sample(rows, most)]
    captions = [split.captions[int(row)] for row in rows] if split.captions is not None else []
    return Captioned(Labelled(split, rows, known.labels[rows], known.groups[rows]), captions)


def untrained_towers(
    registry: Registry, card: ModelCard, tokenizer: Tokenizer, pool: Labelled, *, l2_normalize: bool, seed: int
) -> Towers:
    """Return both towers with random weights, with calibrated batch norms in the image tower.

    Args:
        registry: Registry of the pretext task.
        card: Card of the trained encoder.
        tokenizer: Tokenizer of the texts.
        pool: Images to calibrate batch norms on.
        l2_normalize: Whether embeddings are scaled to unit length.
        seed: Seed of the weights.
    """
    task = build_task(registry, card.recipe, untrained(registry, card, seed), seed, card.size)
    assert task.text_tower is not None  # its trained twin ships
    network = OfTokens(task.text_tower, l2_normalize).eval()

    def embed(texts: Sequence[str]) -> npt.NDArray[np.floating[Any]]:
        tokens, mask, _ = tokenizer.encode(texts)
        with torch.inference_mode():
            found = network(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()
        return np.asarray(found)

    return Towers(random_encoder(registry, card, l2_normalize, seed, pool.split), embed)
