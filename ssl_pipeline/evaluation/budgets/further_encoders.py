"""Further encoders, pretrained as the one that ships was but with other seeds: they show how much is luck."""

from collections.abc import Sequence
from pathlib import Path

from ssl_pipeline.artifacts.assembly import cut
from ssl_pipeline.artifacts.card import CARD, ModelCard, read_card
from ssl_pipeline.artifacts.files import ENCODER, load_encoder
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.products import sha256
from ssl_pipeline.registry import Registry
from ssl_pipeline.types import Encoder
from ssl_pipeline.workspace import find_path

__all__ = ["read_encoders"]

_FIELDS_OF_A_RUN = {"seed", "weights_sha256", "params_sha256", "seedless_sha256", "init", "plugins", "versions"}
"""Fields of a card that differ between two seeds, or with where and with what software they were run."""


def read_encoders(registry: Registry, folders: Sequence[str], card: ModelCard, layer: int | None) -> list[Encoder]:
    """Return the encoders of `finetune.encoders`, cut at the layer that ships.

    Args:
        registry: The registry that has their backbone.
        folders: Copies of models/pretrain, from runs that differ in `pretrain.seed` alone.
        card: Card of the whole encoder that ships.
        layer: Layer of its backbone, from 1; None: the backbone's own embedding.

    Raises:
        ConfigError: A folder is missing or damaged, holds an encoder that was pretrained in another way, or one that is
            there already.
    """
    encoders, known = [], {card.weights_sha256: "models/pretrain"}
    for folder in folders:
        place = find_path(folder, "finetune.encoders")
        other = _card(place)
        _check_alike(other, folder, card)
        if other.weights_sha256 in known:
            raise ConfigError(
                f"finetune.encoders: {folder} holds the same weights as {known[other.weights_sha256]}. "
                "Name encoders of other seeds, each of them once."
            )
        known[other.weights_sha256] = folder
        encoders.append(cut(*load_encoder(registry, place, key=f"finetune.encoders, '{folder}': backbone"), layer)[0])
    return encoders


def _check_alike(other: ModelCard, folder: str, card: ModelCard) -> None:
    """Refuse an encoder that differs in more than its seed, and say in what, where its card tells."""
    for one, name in ((card, "models/pretrain"), (other, folder)):
        if not one.seedless_sha256:
            raise ConfigError(
                f"finetune.encoders: the {CARD} of {name} is of an older version, which did not note what pretraining "
                "depends on: pretrain this encoder again."
            )
    differing = [name for name in ModelCard.model_fields if getattr(other, name) != getattr(card, name)]
    fields = ", ".join(name for name in differing if name not in _FIELDS_OF_A_RUN)
    if fields or other.seedless_sha256 != card.seedless_sha256:
        raise ConfigError(
            f"finetune.encoders: {folder} was pretrained with other parameters, weights, views or images than "
            f"models/pretrain{f' ({fields} differ)' if fields else ''}. Name encoders that differ in pretrain.seed "
            "alone."
        )


def _card(folder: Path) -> ModelCard:
    """Return the card of a folder whose weights are those that it describes."""
    missing = [name for name in (CARD, ENCODER) if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"finetune.encoders: '{folder}' has no {' and no '.join(missing)}. "
            "Name copies of the folder models/pretrain, made after runs with other values of pretrain.seed."
        )
    try:
        card = read_card(folder)
    except PipelineError as error:
        raise ConfigError(f"finetune.encoders: {error} Then copy the folder again.") from error
    if sha256(folder / ENCODER) != card.weights_sha256:
        raise ConfigError(
            f"finetune.encoders: {folder / ENCODER} is not the file that {CARD} beside it describes; "
            "copy the folder again."
        )
    return card
