"""The files of a trained model: writing weights and their card, and reading them back."""

from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor, nn

from ssl_pipeline.artifacts.assembly import build_task, untrained
from ssl_pipeline.artifacts.card import CARD, ModelCard, read_card
from ssl_pipeline.errors import PipelineError
from ssl_pipeline.products import atomic_file, record, sha256, sha256_once, verified, write_product
from ssl_pipeline.registry import Registry
from ssl_pipeline.remedies import remake
from ssl_pipeline.terminal import shown
from ssl_pipeline.types import Encoder, PretextTask, TextTower

__all__ = [
    "ENCODER",
    "ENERGY_HEAD",
    "TEXT_TOWER",
    "load_encoder",
    "load_task",
    "load_text_tower",
    "restore",
    "save_model",
    "save_weights",
]

ENCODER, ENERGY_HEAD = "encoder.safetensors", "energy_head.safetensors"
TEXT_TOWER = "text_tower.safetensors"


def save_model(
    folder: Path,
    encoder: nn.Module,
    energy_head: nn.Module | None,
    card: ModelCard,
    text_tower: nn.Module | None = None,
) -> ModelCard:
    """Write weights and card into a folder; return the card with the digest of the encoder's weights filled in."""
    for name, part in ((ENCODER, encoder), (ENERGY_HEAD, energy_head), (TEXT_TOWER, text_tower)):
        if part is not None:
            save_weights(folder / name, part.state_dict())
    card = card.model_copy(update={"weights_sha256": sha256(folder / ENCODER)})
    write_product(folder / CARD, card.model_dump(mode="json"))
    return card


def save_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors of any device and memory format as safetensors, and record the digest of the file."""
    with atomic_file(path) as temporary:
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        temporary.write_bytes(safetensors.torch.save(tensors))  # its save_file hides why a write failed
    record(path)


def load_encoder(
    registry: Registry, folder: Path, stage: str = "pretrain", key: str = "pretrain.backbone"
) -> tuple[Encoder, ModelCard]:
    """Return the trained encoder, in eval mode on the CPU, and its card; messages name the stage and the key.

    Raises:
        PipelineError: The weights are missing, or are not those that the card describes.
    """
    card = read_card(folder, stage)
    path = verified(folder / ENCODER, stage)
    if sha256_once(path) != card.weights_sha256:
        raise PipelineError(f"{path} is not the file that {folder / CARD} describes: {remake(stage)}.")
    encoder = untrained(registry, card, card.seed, key)
    if card.grayscale:
        encoder = encoder.in_grayscale()
    restore(encoder, path, stage)
    return encoder.eval(), card


def load_task(registry: Registry, folder: Path) -> PretextTask:
    """Return the task with its trained encoder, energy head and text tower, in eval mode on the CPU."""
    encoder, card = load_encoder(registry, folder)
    task = build_task(registry, card.recipe, encoder, card.seed, card.size)
    for name, part in ((ENERGY_HEAD, task.energy_head), (TEXT_TOWER, task.text_tower)):
        if part is not None:
            restore(part, verified(folder / name, "pretrain"), "pretrain")
    return task.eval()


def load_text_tower(registry: Registry, folder: Path) -> tuple[TextTower, ModelCard]:
    """Return the trained text tower, in eval mode on the CPU, and the card of the run.

    Raises:
        PipelineError: The run had no text tower, or its weights are missing or do not fit the present code.
    """
    card, tower = read_card(folder), load_task(registry, folder).text_tower
    if tower is None:
        raise PipelineError(f"{folder}: recipe '{card.recipe.name}' learns from images only: it has no text tower.")
    return tower, card


def restore(module: nn.Module, path: Path, stage: str) -> None:
    """Load weights that `save_weights` wrote.

    Args:
        module: Network that receives the weights.
        path: Path of a file whose digest has been checked by `verified`.
        stage: Name of the stage that wrote the file, for messages.

    Raises:
        PipelineError: The weights do not fit the module, because the code of a plugin or of the project has changed.
    """
    try:
        module.load_state_dict(safetensors.torch.load_file(path))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise PipelineError(
            f"{path} does not fit the network that the code now builds: {remake(stage)}.\n{shown(str(error), 500)}"
        ) from error
