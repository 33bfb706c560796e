"""Further encoders, pretrained like the one that ships but with other seeds, which show how much is luck."""

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
"""Fields of a card that may differ between runs with different seeds, on different machines or with other software."""


def read_encoders(registry: Registry, folders: Sequence[str], card: ModelCard, layer: int | None) -> list[Encoder]:
    """Return the encoders of `finetune.encoders`, cut at the layer that ships.

    Args:
        registry: Registry of the backbones.
        folders: Copies of models/pretrain, from runs that differ in `pretrain.seed` alone.
        card: Card of the whole encoder that ships.
        layer: Layer of the backbone that ships, from 1; None for the backbone's own embedding.

    Raises:
        ConfigError: A folder is missing or damaged, or its encoder was pretrained differently or occurs twice.
    """
    encoders, known = [], {card.weights_sha256: "models/pretrain"}
    for folder in folders:
        place = find_path(folder, "finetune.encoders")
        other = _card(place)
        _check_alike(other, folder, card)
        if other.weights_sha256 in known:
            raise ConfigError(
                f"finetune.encoders: {folder} holds the same weights as {known[other.weights_sha256]}. "
                "Name encoders of other seeds, each only once."
            )
        known[other.weights_sha256] = folder
        encoders.append(cut(*load_encoder(registry, place, key=f"finetune.encoders, '{folder}': backbone"), layer)[0])
    return encoders


def _check_alike(other: ModelCard, folder: str, card: ModelCard) -> None:
    """Raise an error if an encoder differs in more than its seed, and name the fields of its card that differ."""
    for one, name in ((card, "models/pretrain"), (other, folder)):
        if not one.seedless_sha256:
            raise ConfigError(
                f"finetune.encoders: the {CARD} of {name} was written by an older version, which did not record what "
                "pretraining depends on. Pretrain this encoder again."
            )
    differing = [name for name in ModelCard.model_fields if getattr(other, name) != getattr(card, name)]
    fields = ", ".join(name for name in differing if name not in _FIELDS_OF_A_RUN)
    if fields or other.seedless_sha256 != card.seedless_sha256:
        raise ConfigError(
            f"finetune.encoders: {folder} was pretrained with other parameters, weights, views or images than "
            f"models/pretrain{f' (different: {fields})' if fields else ''}. Name encoders that differ only in "
            "pretrain.seed."
        )


def _card(folder: Path) -> ModelCard:
    """Return the card of a folder, after checking that it describes the weights beside it."""
    missing = [name for name in (CARD, ENCODER) if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"finetune.encoders: '{folder}' has no {' and no '.join(missing)}. "
            "Name copies of the folder models/pretrain from runs with other values of pretrain.seed."
        )
    try:
        card = read_card(folder)
    except PipelineError as error:
        raise ConfigError(f"finetune.encoders: {error} Then copy the folder again.") from error
    if sha256(folder / ENCODER) != card.weights_sha256:
        raise ConfigError(
            f"finetune.encoders: {folder / ENCODER} is not the file that {CARD} beside it describes. "
            "Copy the folder again."
        )
    return card
