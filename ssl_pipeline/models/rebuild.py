"""model.json: all that is needed to rebuild a trained model, and the functions that do it."""

from collections.abc import Mapping
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from typing import Literal

import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn

from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.models.encoder import Encoder
from ssl_pipeline.products import atomic_file, read_product, record, sha256, sha256_once, verified, write_product
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.registry import Registry
from ssl_pipeline.terminal import shown
from ssl_pipeline.types import Backbone, Loss, NegativeStrategy, Offer, PretextTask, ViewLoss
from ssl_pipeline.validation import explain

__all__ = [
    "ModelCard",
    "build_encoder",
    "build_task",
    "cut",
    "has_published",
    "load_encoder",
    "load_task",
    "read_card",
    "restore",
    "save_model",
    "untrained",
    "versions",
]

ENCODER, ENERGY_HEAD, CARD = "encoder.safetensors", "energy_head.safetensors", "model.json"


class ModelCard(BaseModel):
    """What a trained encoder is: enough to build it anew, and to say where it came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: Choice
    recipe: Recipe
    embedding_dim: int
    layer: int | None = None
    """Of the backbone, from 1, whose maps are averaged to embeddings; None: the embeddings are its own."""
    grayscale: bool = False
    """Whether the encoder is shown the luminance of images alone."""
    size: int
    """Side in px of the images that the encoder was trained on."""
    resize: Literal["squash", "crop", "letterbox"]
    background: tuple[int, int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    seed: int
    batch_size: int
    """Images per step of pretraining."""
    init: str = "random"
    """What training started from, as `pretrain.init` says: random, pretrained (published weights), or a file's path."""
    init_sha256: str = ""
    """Digest of that file; empty where there was none."""
    start_sha256: str = ""
    """Digest of the weights that training started from, in `start.safetensors`; empty where they were random."""
    weights_sha256: str
    params_sha256: str
    """Digest of the parameters that shaped the weights."""
    seedless_sha256: str = ""
    """Digest of all else than the seed that shaped the weights: parameters, given weights, views and images."""
    plugins: dict[str, str]
    """Third-party distribution -> version."""
    versions: dict[str, str]


def versions() -> dict[str, str]:
    """Versions of what shapes the weights and graphs."""
    names = ("ssl-pipeline", "torch", "torchvision", "timm", "onnx", "onnxscript", "numpy", "pillow")
    return {name: version(name) for name in names}


def build_encoder(
    registry: Registry,
    backbone: Choice,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    seed: int,
    size: int,
    pretrained: bool = False,
    key: str = "pretrain.backbone",
) -> Encoder:
    """An encoder with random weights that depend on the seed alone, and leave torch's own generator as it was.

    Args:
        registry: Where the backbone is found.
        backbone: Its name and options.
        mean: The mean of each channel of the training images, in [0, 1].
        std: The standard deviation of each channel of the training images, in [0, 1].
        seed: Seed of the weights.
        size: Side of the images in px.
        pretrained: Whether to ask the backbone for published weights instead.
        key: Where the backbone stands in params.yaml, for messages.

    Raises:
        ConfigError: Unknown backbone or option, or it has no published weights.
        PipelineError: Its published weights could not be had.
    """
    if pretrained and not has_published(registry, backbone, key):
        raise ConfigError(f"{key}: backbone '{backbone.name}' has no published weights: take one of timm/...")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = registry.build("backbone", backbone, key, size=size, pretrained=pretrained)
    return Encoder(network, mean, std)


def has_published(registry: Registry, backbone: Choice, key: str = "pretrain.backbone") -> bool:
    """Whether a backbone can be asked for published weights.

    Raises:
        ConfigError: There is no such backbone; the message names `key`.
    """
    return "pretrained" in signature(registry.find("backbone", backbone.name, key).factory).parameters


def build_task(registry: Registry, recipe: Recipe, encoder: Encoder, seed: int, size: int) -> PretextTask:
    """The pretext task of a recipe around an encoder for images of a size in px, its heads drawn from the seed.

    Raises:
        ConfigError: The task takes no loss or negatives, but the recipe names some, or the other way round; or the loss
            refuses the strategy; or the backbone does not offer what the task needs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)  # not the encoder's numbers again
        parts = recipe.parts()
        task_choice = parts.pop("pretext_task")
        factory = registry.find("pretext_task", task_choice.name).factory
        _check_backbone(registry, task_choice.name, getattr(factory, "needs", frozenset()), encoder.backbone)
        accepted = signature(factory).parameters
        for kind in ("loss", "negatives"):
            if kind in parts and kind not in accepted:
                raise ConfigError(f"pretrain.{kind}: pretext task '{task_choice.name}' takes none; leave it {{}}.")
            if kind in accepted and kind not in parts:
                raise ConfigError(f"pretrain.{kind}: pretext task '{task_choice.name}' needs one; name it.")
        built = {kind: registry.build(kind, choice) for kind, choice in parts.items()}
        if "loss" in built:
            _check_loss(recipe, built["loss"], accepted["loss"].annotation)
        if "loss" in built and "negatives" in built:
            _check_pair(recipe, built["loss"], built["negatives"])
        task: PretextTask = registry.build("pretext_task", task_choice, encoder=encoder, size=size, **built)
    return task


def _check_backbone(registry: Registry, task: str, needs: frozenset[Offer], backbone: Backbone) -> None:
    """Refuse a backbone that does not offer what a task needs, and name those that do."""
    words = {"maps": "maps of features", "patches": "a backbone that can be shown some patches of an image alone"}
    for offer in sorted(needs):
        if not backbone.has(offer):
            factories = [entry.factory for entry in registry.entries() if entry.kind == "backbone"]
            able = [offers[offer] for offers in (getattr(one, "offers", {}) for one in factories) if offer in offers]
            raise ConfigError(
                f"pretrain.backbone: pretext task '{task}' needs {words[offer]}, which this one is not able to give. "
                f"Those that are: {'; '.join(able)}."
            )


def _check_loss(recipe: Recipe, loss: Loss | ViewLoss, wanted: object) -> None:
    """Refuse a loss with negatives where one without is wanted, and the other way round."""
    assert recipe.loss is not None
    other, words = (ViewLoss, "without") if isinstance(loss, Loss) else (Loss, "with")
    if wanted in (other, other.__name__):  # a name, where annotations are not evaluated
        raise ConfigError(
            f"pretrain.loss '{recipe.loss.name}' does not go with pretext task '{recipe.pretext_task.name}', which "
            f"takes a loss {words} negatives. Choose another of either, or a recipe that has both."
        )


def _check_pair(recipe: Recipe, loss: Loss, negatives: NegativeStrategy) -> None:
    """Refuse a loss with a strategy that it makes no sense with."""
    assert recipe.loss is not None
    assert recipe.negatives is not None
    for trait in sorted(negatives.traits & loss.refuses.keys()):
        raise ConfigError(
            f"pretrain.loss '{recipe.loss.name}' makes no sense with pretrain.negatives '{recipe.negatives.name}': "
            f"{loss.refuses[trait]}. Choose another of either."
        )


def save_model(folder: Path, encoder: nn.Module, energy_head: nn.Module | None, card: ModelCard) -> ModelCard:
    """Write weights and card into a folder; return the card with the weights' digest filled in."""
    save_weights(folder / ENCODER, encoder.state_dict())
    if energy_head is not None:
        save_weights(folder / ENERGY_HEAD, energy_head.state_dict())
    card = card.model_copy(update={"weights_sha256": sha256(folder / ENCODER)})
    write_product(folder / CARD, card.model_dump(mode="json"))
    return card


def save_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, from whatever device and memory format, and note the file's digest."""
    with atomic_file(path) as temporary:
        tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
        temporary.write_bytes(safetensors.torch.save(tensors))  # its own save_file hides why a write failed
    record(path)


def read_card(folder: Path, stage: str = "pretrain") -> ModelCard:
    """The card of a model folder that `stage` made.

    Raises:
        PipelineError: The card is missing, damaged, or that of another version.
    """
    try:
        return ModelCard.model_validate(read_product(folder / CARD, stage))
    except ValidationError as error:
        reasons = "; ".join(explain(error, ModelCard))
        raise PipelineError(
            f"{folder / CARD} is of another version ({reasons}): run `dvc repro --force {stage}`."
        ) from error


def load_encoder(
    registry: Registry, folder: Path, stage: str = "pretrain", key: str = "pretrain.backbone"
) -> tuple[Encoder, ModelCard]:
    """The trained encoder in eval mode, on the CPU, and its card; messages name the stage and the backbone's key.

    Raises:
        PipelineError: The weights are missing, or are not those that the card describes.
    """
    card = read_card(folder, stage)
    path = verified(folder / ENCODER, stage)
    if sha256_once(path) != card.weights_sha256:
        raise PipelineError(f"{path} is not the file that {folder / CARD} describes: run `dvc repro --force {stage}`.")
    encoder = untrained(registry, card, card.seed, key)
    if card.grayscale:
        encoder = encoder.in_grayscale()
    restore(encoder, path, stage)
    return encoder.eval(), card


def untrained(registry: Registry, card: ModelCard, seed: int, key: str = "pretrain.backbone") -> Encoder:
    """The encoder that a card describes, down to its layer, with random weights that depend on the seed alone.

    It sees colours even where the trained one does not: who does not pretrain has no reason to do without them.
    """
    return build_encoder(registry, card.backbone, card.mean, card.std, seed, card.size, key=key).at(card.layer)


def cut(encoder: Encoder, card: ModelCard, layer: int | None) -> tuple[Encoder, ModelCard]:
    """An encoder and its card with the embeddings of one layer; the weights are those of the encoder, not copies.

    Args:
        encoder: Whole, or cut already.
        card: Of the encoder.
        layer: Of the backbone, from 1, whose maps are averaged; None: the backbone's own embedding.

    Raises:
        ConfigError: The backbone has no such layer.
    """
    layers = len(encoder.backbone.map_channels)
    if layer is not None and not 1 <= layer <= layers:
        has = f"has layers 1 to {layers}: take one of them, or last" if layers else "has none: set it to last"
        raise ConfigError(f"export.layer: {layer}, but this backbone ({card.backbone.name}) {has}.")
    encoder = encoder.at(layer)
    return encoder, card.model_copy(update={"layer": layer, "embedding_dim": encoder.embedding_dim})


def load_task(registry: Registry, folder: Path) -> PretextTask:
    """The pretext task with its trained encoder and energy head, in eval mode, on the CPU."""
    encoder, card = load_encoder(registry, folder)
    task = build_task(registry, card.recipe, encoder, card.seed, card.size)
    if task.energy_head is not None:
        restore(task.energy_head, verified(folder / ENERGY_HEAD, "pretrain"), "pretrain")
    return task.eval()


def restore(module: nn.Module, path: Path, stage: str) -> None:
    """Load weights that `save_weights` wrote.

    Args:
        module: The network that receives the weights.
        path: A file that is the one that was written (`verified`).
        stage: Name of the stage that wrote it, for messages.

    Raises:
        PipelineError: The module has other weights by now, because the code of a plugin or of the project has changed.
    """
    try:
        module.load_state_dict(safetensors.torch.load_file(path))
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise PipelineError(
            f"{path} does not fit the network that the code now builds: run `dvc repro --force {stage}`.\n"
            f"{shown(str(error), 500)}"
        ) from error
