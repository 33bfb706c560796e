"""Further encoders, pretrained as the one that ships was but with other seeds: they show how much is luck."""

from collections.abc import Sequence
from pathlib import Path

from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.models.encoder import Encoder
from ssl_pipeline.models.rebuild import CARD, ENCODER, ModelCard, cut, load_encoder, read_card
from ssl_pipeline.products import sha256
from ssl_pipeline.registry import Registry
from ssl_pipeline.workspace import find

__all__ = ["read_encoders"]

_ALIKE = ("backbone", "recipe", "grayscale", "size", "resize", "background", "mean", "std", "batch_size")


def read_encoders(registry: Registry, folders: Sequence[str], card: ModelCard, layer: int | None) -> list[Encoder]:
    """The encoders of `finetune.encoders`, cut at the layer that ships.

    Args:
        registry: Where their backbone is found.
        folders: Copies of models/pretrain, from runs that differ in `pretrain.seed` alone.
        card: Of the whole encoder that ships.
        layer: Of its backbone, from 1; None: the backbone's own embedding.

    Raises:
        ConfigError: A folder is missing or damaged, holds another kind of encoder, or one that is there already.
    """
    encoders, known = [], {card.weights_sha256: "models/pretrain"}
    for folder in folders:
        place = find(folder, "finetune.encoders")
        other = _card(place)
        for name in _ALIKE:
            if getattr(other, name) != getattr(card, name):
                raise ConfigError(
                    f"finetune.encoders: {folder} was pretrained with another {name} than models/pretrain. "
                    "Name encoders that differ in pretrain.seed alone."
                )
        if other.weights_sha256 in known:
            raise ConfigError(
                f"finetune.encoders: {folder} holds the same weights as {known[other.weights_sha256]}. "
                "Name encoders of other seeds, each of them once."
            )
        known[other.weights_sha256] = folder
        encoders.append(cut(*load_encoder(registry, place), layer)[0])
    return encoders


def _card(folder: Path) -> ModelCard:
    """The card of a folder whose weights are those that it describes."""
    missing = [name for name in (CARD, ENCODER) if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"finetune.encoders: '{folder}' has no {' and no '.join(missing)}. "
            "Name copies of the folder models/pretrain, made after runs with other values of pretrain.seed."
        )
    try:
        card = read_card(folder)
    except (PipelineError, ValueError) as error:
        raise ConfigError(f"finetune.encoders: {folder / CARD} is damaged, copy the folder again.") from error
    if sha256(folder / ENCODER) != card.weights_sha256:
        raise ConfigError(
            f"finetune.encoders: {folder / ENCODER} is not the file that {CARD} beside it describes; "
            "copy the folder again."
        )
    return card
