"""What pretraining started from, where that was not chance: kept beside what came of it, so that the two compare."""

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
    """Write the weights of an encoder before its training into a folder; return the card with their digest filled in.

    They are kept, not only named: a download may be gone, and a file elsewhere another one, when they are asked for.
    """
    save_weights(folder / START, weights)
    return card.model_copy(update={"start_sha256": sha256(folder / START)})


def started(registry: Registry, folder: Path, stage: str = "pretrain") -> Encoder | None:
    """Rebuild the encoder as it was before pretraining, in eval mode, on the CPU; None where its weights were random.

    It sees colours even where the trained one does not: without pretraining there is no reason to leave them out. No
    network is needed.

    Args:
        registry: The registry in which the backbone is found.
        folder: A folder that `stage` made.
        stage: The stage's name, for messages.

    Raises:
        PipelineError: The weights are missing, damaged, not those that the card describes, or of another network than
            the code now builds.
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
