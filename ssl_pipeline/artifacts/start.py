"""The initial weights of pretraining, if not random: stored beside the trained ones, so that both can be compared."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ssl_pipeline.artifacts.assembly import untrained
from ssl_pipeline.artifacts.card import CARD, ModelCard, read_card
from ssl_pipeline.artifacts.files import restore, save_weights
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import sha256, sha256_once, verified
from ssl_pipeline.registry import Registry
from ssl_pipeline.remedies import remake
from ssl_pipeline.types import Encoder

__all__ = ["START", "save_start", "started"]

START = "start.safetensors"


def save_start(folder: Path, weights: Mapping[str, Tensor], card: ModelCard) -> ModelCard:
    """Write the initial weights of an encoder into a folder; return the card with their digest filled in.

    The weights themselves are stored because, later on, a download may be gone and a file elsewhere may have changed.
    """
    save_weights(folder / START, weights)
    return card.model_copy(update={"start_sha256": sha256(folder / START)})


def started(registry: Registry, folder: Path, stage: str = "pretrain") -> Encoder | None:
    """Return the encoder before pretraining, in eval mode on the CPU, or None if its weights were random.

    It sees colours even if the trained encoder does not: without pretraining there is no reason to remove them. No
    internet connection is needed.

    Args:
        registry: Registry of the backbones.
        folder: Folder that `stage` made.
        stage: Name of the stage, for messages.

    Raises:
        PipelineError: The weights are missing, damaged, not those that the card describes, or do not fit the network
            that the present code builds.
    """
    card = read_card(folder, stage)
    if not card.start_sha256:
        return None
    path = verified(folder / START, stage)
    if sha256_once(path) != card.start_sha256:
        raise PipelineError(f"{path} is not the file that {folder / CARD} describes: {remake(stage)}.")
    encoder = untrained(registry, card, card.seed)
    restore(encoder, path, stage)
    return encoder.eval()
