"""Building encoders and pretext tasks from their descriptions: a backbone, a recipe, a card."""

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
    """Return an encoder with random weights that depend on the seed alone, without changing torch's global generator.

    Args:
        registry: Registry of the backbones.
        backbone: Name and options of the backbone.
        mean: Mean of each channel of the training images, as a share of the full scale.
        std: Standard deviation of each channel of the training images, as a share of the full scale.
        seed: Seed of the weights.
        size: Side of the images in px.
        pretrained: Whether to ask the backbone for published weights instead.
        key: Key of the backbone in params.yaml, for messages.
        images: Meaning of the images' values; the backbone is built for their number of channels.

    Raises:
        ConfigError: The backbone or an option is unknown, or the backbone has no published weights or does not accept
            this number of channels.
        PipelineError: The published weights could not be downloaded.
    """
    if pretrained and not has_published(registry, backbone, key):
        raise ConfigError(f"{key}: backbone '{backbone.name}' has no published weights. {with_published(registry)}")
    if images.channels != 3 and "in_channels" not in _parameters(registry, backbone, key):
        raise ConfigError(
            f"{key}: backbone '{backbone.name}' accepts only images with 3 channels, but these have {images.channels}. "
            "Choose another backbone, or set ingest.pixels: rgb8."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        injected = {"size": size, "pretrained": pretrained, "in_channels": images.channels}
        network = registry.build("backbone", backbone, key, **injected)
    return Encoder(network, mean, std, images)


def has_published(registry: Registry, backbone: Choice, key: str = "pretrain.backbone") -> bool:
    """Return whether a backbone has published weights.

    Raises:
        ConfigError: The backbone is unknown; the message names `key`.
    """
    return "pretrained" in _parameters(registry, backbone, key)


def _parameters(registry: Registry, backbone: Choice, key: str) -> Mapping[str, Parameter]:
    return signature(registry.find("backbone", backbone.name, key).factory).parameters


def needed_views(registry: Registry, task: Choice) -> ViewNeeds:
    """Return the views that a pretext task learns from, without building anything.

    Raises:
        ConfigError: The task or an option is unknown, or a value is out of range.
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
    """Return the teacher's settings of a pretext task, or None if it has no teacher, without building anything.

    Raises:
        ConfigError: The task or an option is unknown, or a value is out of range.
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
    """Return the views that a pretext task's factory declares for options, which may be incomplete; None without any.

    Raises:
        ValueError: An option is out of range.
    """
    views_for = getattr(class_of(factory), "views_for", None)
    return views_for(with_defaults(factory, "pretext_task", options)) if views_for else None


def class_of(factory: Factory) -> Any:
    """Return the class whose objects a factory makes if it is a class or a partial of one; otherwise, the factory."""
    return getattr(factory, "func", factory)


def with_published(registry: Registry) -> str:
    """Return a sentence for messages that lists the backbones with published weights."""
    names = [name for name in registry.names("backbone") if has_published(registry, Choice(name=name))]
    listed = ", ".join(f"{name}..." if name.endswith("/") else name for name in names)
    return f"Backbones with published weights: {listed or 'none'}."


def build_task(registry: Registry, recipe: Recipe, encoder: Encoder, seed: int, size: int) -> PretextTask:
    """Return the pretext task of a recipe, with heads initialised from the seed.

    Args:
        registry: Registry of the recipe's parts.
        recipe: Recipe of the task.
        encoder: Encoder that the task trains.
        seed: Seed of the heads' weights.
        size: Side of the images in px.

    Raises:
        ConfigError: The recipe names a loss or negatives that the task does not take, or lacks one that it needs; the
            loss refuses the strategy; or the backbone does not offer what the task needs.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)  # must not repeat the encoder's numbers
        parts = recipe.parts()
        task_choice = parts.pop("pretext_task")
        factory = registry.find("pretext_task", task_choice.name).factory
        _check_needs(registry, task_choice.name, getattr(class_of(factory), "needs", frozenset()), encoder)
        accepted = signature(factory).parameters
        for kind in ("loss", "negatives"):
            if kind in parts and kind not in accepted:
                raise ConfigError(f"pretrain.{kind}: pretext task '{task_choice.name}' takes none; set it to {{}}.")
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
    """Check that images and backbone offer what a task needs; the error names backbones that do."""
    if "rgb" in needs and not encoder.images.is_rgb:
        raise ConfigError(
            f"pretrain.pretext_task: '{task}' learns from red, green and blue, but these images are "
            f"{encoder.images}. Choose another recipe, or set ingest.pixels: rgb8."
        )
    offered: dict[Offer, str] = {
        "maps": "feature maps",
        "patches": "a backbone that can process a subset of an image's patches",
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
    """Check that a loss belongs to the family that the task takes."""
    assert recipe.loss is not None
    if not isinstance(loss, wanted):
        raise ConfigError(
            f"pretrain.loss '{recipe.loss.name}' does not fit pretext task '{recipe.pretext_task.name}', which "
            f"takes a loss {wanted.family}. Choose another loss or another task, or a recipe that combines both."
        )


def check_pair(loss_name: str, loss: Loss, negatives_name: str, negatives: NegativeStrategy) -> None:
    """Check that a loss can be combined with a strategy.

    Raises:
        ConfigError: The combination makes no sense; the message names both.
    """
    for trait in sorted(negatives.traits & loss.refuses.keys()):
        raise ConfigError(
            f"pretrain.loss '{loss_name}' makes no sense with pretrain.negatives '{negatives_name}': "
            f"{loss.refuses[trait]}. Choose another loss or another strategy."
        )


def untrained(registry: Registry, card: ModelCard, seed: int, key: str = "pretrain.backbone") -> Encoder:
    """Return the encoder that a card describes, cut at its layer, with random weights that depend on the seed alone.

    It sees colours even if the trained encoder does not: without pretraining there is no reason to remove them.
    """
    encoder = build_encoder(registry, card.backbone, card.mean, card.std, seed, card.size, key=key, images=card.images)
    if card.projection_dim is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 2)  # must repeat neither the backbone's numbers nor the heads'
            encoder = encoder.projected(card.projection_dim)
    return encoder.at(card.layer)


def cut(encoder: Encoder, card: ModelCard, layer: int | None) -> tuple[Encoder, ModelCard]:
    """Return an encoder and its card for the embeddings of one layer; the encoder's weights are not copied.

    Args:
        encoder: Encoder, complete or already cut.
        card: Card of the encoder.
        layer: Layer of the backbone, counted from 1, whose maps are averaged; None takes the backbone's own embedding.

    Raises:
        ConfigError: The backbone has no such layer.
    """
    layers = len(encoder.backbone.map_channels)
    if layer is not None and not 1 <= layer <= layers:
        has = f"has layers 1 to {layers}: choose one of them, or last" if layers else "has none: set it to last"
        raise ConfigError(f"export.layer: {layer}, but this backbone ({card.backbone.name}) {has}.")
    encoder = encoder.at(layer)
    told = {"layer": layer, "embedding_dim": encoder.embedding_dim, "projection_dim": encoder.projection_dim}
    return encoder, card.model_copy(update=told)
