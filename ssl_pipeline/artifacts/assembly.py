"""Building encoders and pretext tasks from what names them: a backbone, a recipe, a card."""

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

import torch

from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.config import Choice
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.options import with_defaults
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.registry import Registry
from ssl_pipeline.types import (
    Encoder,
    Factory,
    Loss,
    Need,
    NegativeStrategy,
    Objective,
    Offer,
    PretextTask,
    Teaching,
    ViewNeeds,
)

__all__ = [
    "build_encoder",
    "build_task",
    "check_pair",
    "class_of",
    "cut",
    "declared_views",
    "has_published",
    "needed_views",
    "teaching_of",
    "untrained",
    "with_published",
]


def build_encoder(
    registry: Registry,
    backbone: Choice,
    mean: tuple[float, ...],
    std: tuple[float, ...],
    seed: int,
    size: int,
    pretrained: bool = False,
    key: str = "pretrain.backbone",
    images: ImageSpec = RGB8,
) -> Encoder:
    """Return an encoder with random weights that depend on the seed alone, and leave torch's own generator as it was.

    Args:
        registry: The registry in which the backbone is found.
        backbone: The backbone's name and options.
        mean: The mean of each channel of the training images, as a share of the full scale.
        std: The standard deviation of each channel of the training images, as a share of the full scale.
        seed: Seed of the weights.
        size: Side of the images in px.
        pretrained: Whether to ask the backbone for published weights instead.
        key: The backbone's key in params.yaml, for messages.
        images: What the values of images mean; the backbone is built for their channels.

    Raises:
        ConfigError: Unknown backbone or option, it has no published weights, or it takes no images of so many channels.
        PipelineError: Its published weights could not be downloaded.
    """
    if pretrained and not has_published(registry, backbone, key):
        raise ConfigError(f"{key}: backbone '{backbone.name}' has no published weights. {with_published(registry)}")
    if images.channels != 3 and "in_channels" not in _parameters(registry, backbone, key):
        raise ConfigError(
            f"{key}: backbone '{backbone.name}' accepts only images with 3 channels, and these have {images.channels}. "
            "Take another backbone, or set ingest.pixels: rgb8."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        injected = {"size": size, "pretrained": pretrained, "in_channels": images.channels}
        network = registry.build("backbone", backbone, key, **injected)
    return Encoder(network, mean, std, images)


def has_published(registry: Registry, backbone: Choice, key: str = "pretrain.backbone") -> bool:
    """Say whether a backbone can be asked for published weights.

    Raises:
        ConfigError: There is no such backbone; the message names `key`.
    """
    return "pretrained" in _parameters(registry, backbone, key)


def _parameters(registry: Registry, backbone: Choice, key: str) -> Mapping[str, Parameter]:
    return signature(registry.find("backbone", backbone.name, key).factory).parameters


def needed_views(registry: Registry, task: Choice) -> ViewNeeds:
    """Return which views a pretext task will learn from; nothing is built to find out.

    Raises:
        ConfigError: There is no such task or option, or a value is out of range.
    """
    entry, key = registry.find("pretext_task", task.name), "pretrain.pretext_task"
    try:
        needs = declared_views(entry.factory, registry.validate(entry, task))
    except ValueError as error:
        raise ConfigError(f"{key} {task.name}: {error}") from error
    if needs is None:
        raise ConfigError(
            f"{key}: '{task.name}' of {entry.distribution} {entry.version} does not say which views it needs. Its "
            "author must register a class that derives from ssl_pipeline.types.PretextTask."
        )
    return needs


def teaching_of(registry: Registry, task: Choice) -> Teaching | None:
    """Return by whom a pretext task is taught; None: nobody. Nothing is built to find out.

    Raises:
        ConfigError: There is no such task or option, or a value is out of range.
    """
    entry = registry.find("pretext_task", task.name)
    taught_by = getattr(class_of(entry.factory), "taught_by", None)
    if taught_by is None:
        return None
    options = with_defaults(entry.factory, "pretext_task", registry.validate(entry, task))
    try:
        teaching: Teaching | None = taught_by(options)
    except ValueError as error:
        raise ConfigError(f"pretrain.pretext_task {task.name}: {error}") from error
    return teaching


def declared_views(factory: Factory, options: Mapping[str, Any]) -> ViewNeeds | None:
    """Return what the factory of a pretext task says of options, which may be incomplete; None if it says nothing.

    Raises:
        ValueError: An option is out of range.
    """
    views_for = getattr(class_of(factory), "views_for", None)
    return views_for(with_defaults(factory, "pretext_task", options)) if views_for else None


def class_of(factory: Factory) -> Any:
    """Return the class that a factory makes objects of, if it is one or a partial of one; else the factory itself."""
    return getattr(factory, "func", factory)


def with_published(registry: Registry) -> str:
    """Name the backbones that have published weights, in a sentence for messages."""
    names = [name for name in registry.names("backbone") if has_published(registry, Choice(name=name))]
    listed = ", ".join(f"{name}..." if name.endswith("/") else name for name in names)
    return f"Backbones that have some: {listed or 'none'}."


def build_task(registry: Registry, recipe: Recipe, encoder: Encoder, seed: int, size: int) -> PretextTask:
    """Return the pretext task of a recipe around an encoder for images of a size in px, its heads drawn from the seed.

    Raises:
        ConfigError: The task takes no loss or negatives, but the recipe names some, or the other way round; or the loss
            refuses the strategy; or the backbone does not offer what the task needs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)  # not the encoder's numbers again
        parts = recipe.parts()
        task_choice = parts.pop("pretext_task")
        factory = registry.find("pretext_task", task_choice.name).factory
        _check_needs(registry, task_choice.name, getattr(class_of(factory), "needs", frozenset()), encoder)
        accepted = signature(factory).parameters
        for kind in ("loss", "negatives"):
            if kind in parts and kind not in accepted:
                raise ConfigError(f"pretrain.{kind}: pretext task '{task_choice.name}' takes none; leave it {{}}.")
            if kind in accepted and kind not in parts:
                raise ConfigError(f"pretrain.{kind}: pretext task '{task_choice.name}' needs one; name it.")
        built = {kind: registry.build(kind, choice) for kind, choice in parts.items()}
        if "loss" in built:
            _check_loss(recipe, built["loss"], getattr(class_of(factory), "objective", PretextTask.objective))
        if "loss" in built and "negatives" in built:
            assert recipe.loss is not None
            assert recipe.negatives is not None
            check_pair(recipe.loss.name, built["loss"], recipe.negatives.name, built["negatives"])
        task: PretextTask = registry.build("pretext_task", task_choice, encoder=encoder, size=size, **built)
    return task


def _check_needs(registry: Registry, task: str, needs: frozenset[Need], encoder: Encoder) -> None:
    """Refuse images and a backbone that do not offer what a task needs, and name backbones that do."""
    if "rgb" in needs and not encoder.images.is_rgb:
        raise ConfigError(
            f"pretrain.pretext_task: '{task}' learns from red, green and blue, and these images are "
            f"{encoder.images}. Take another recipe, or set ingest.pixels: rgb8."
        )
    offered: dict[Offer, str] = {
        "maps": "maps of features",
        "patches": "a backbone that can be shown some patches of an image alone",
    }
    for offer, words in offered.items():
        if offer in needs and not encoder.backbone.has(offer):
            factories = [entry.factory for entry in registry.entries() if entry.kind == "backbone"]
            able = [offers[offer] for offers in (getattr(one, "offers", {}) for one in factories) if offer in offers]
            raise ConfigError(
                f"pretrain.backbone: pretext task '{task}' needs {words}, which this one does not offer. "
                f"Backbones that do: {'; '.join(able)}."
            )


def _check_loss(recipe: Recipe, loss: Objective, wanted: type[Objective]) -> None:
    """Refuse a loss of another family than the task takes."""
    assert recipe.loss is not None
    if not isinstance(loss, wanted):
        raise ConfigError(
            f"pretrain.loss '{recipe.loss.name}' does not fit pretext task '{recipe.pretext_task.name}', which "
            f"takes a loss {wanted.family}. Choose another loss or another task, or a recipe that has both."
        )


def check_pair(loss_name: str, loss: Loss, negatives_name: str, negatives: NegativeStrategy) -> None:
    """Refuse a loss with a strategy that it makes no sense with.

    Raises:
        ConfigError: The message names both.
    """
    for trait in sorted(negatives.traits & loss.refuses.keys()):
        raise ConfigError(
            f"pretrain.loss '{loss_name}' makes no sense with pretrain.negatives '{negatives_name}': "
            f"{loss.refuses[trait]}. Choose another loss or another strategy."
        )


def untrained(registry: Registry, card: ModelCard, seed: int, key: str = "pretrain.backbone") -> Encoder:
    """Return the encoder that a card describes, down to its layer, with random weights that depend on the seed alone.

    It sees colours even where the trained one does not: without pretraining there is no reason to leave them out.
    """
    encoder = build_encoder(registry, card.backbone, card.mean, card.std, seed, card.size, key=key, images=card.images)
    if card.projection_dim is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 2)  # neither the backbone's numbers again, nor those of heads
            encoder = encoder.projected(card.projection_dim)
    return encoder.at(card.layer)


def cut(encoder: Encoder, card: ModelCard, layer: int | None) -> tuple[Encoder, ModelCard]:
    """Return an encoder and its card with the embeddings of one layer; the encoder's weights are not copied.

    Args:
        encoder: The encoder, whole or cut already.
        card: The card of the encoder.
        layer: The layer of the backbone, from 1, whose maps are averaged; None: the backbone's own embedding.

    Raises:
        ConfigError: The backbone has no such layer.
    """
    layers = len(encoder.backbone.map_channels)
    if layer is not None and not 1 <= layer <= layers:
        has = f"has layers 1 to {layers}: take one of them, or last" if layers else "has none: set it to last"
        raise ConfigError(f"export.layer: {layer}, but this backbone ({card.backbone.name}) {has}.")
    encoder = encoder.at(layer)
    told = {"layer": layer, "embedding_dim": encoder.embedding_dim, "projection_dim": encoder.projection_dim}
    return encoder, card.model_copy(update=told)
