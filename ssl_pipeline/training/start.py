"""The encoder that training starts from: with random weights, or with trained ones and their normalisation."""

import torch

from ssl_pipeline.artifacts.assembly import build_encoder, has_published, with_published
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.data.store import Split
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.registry import Registry
from ssl_pipeline.start_config import Normalisation
from ssl_pipeline.terminal import shown
from ssl_pipeline.training.initial import Statistics, load_weights
from ssl_pipeline.types import Backbone, Encoder, PretextTask
from ssl_pipeline.weight_names import FILES_OF_WEIGHTS, named_weights
from ssl_pipeline.workspace import find_path

__all__ = ["check_start", "start_encoder", "statistics_of"]


def start_encoder(registry: Registry, config: PretrainConfig, pool: Split, size: int) -> Encoder:
    """Return the encoder that training starts from, for views of a size in px.

    Args:
        registry: The registry that knows the backbone.
        config: The section `pretrain`.
        pool: The training images.
        size: The side of views in px.

    Raises:
        ConfigError: The weights do not exist or do not fit the backbone, or the normalisation does not fit the images.
        PipelineError: Published weights could not be downloaded.
    """
    choice, published = config.backbone, config.init == "pretrained"
    if named := named_weights(registry, config.init):
        _check_same_network(config, named)
        choice, published = choice.model_copy(update={"name": config.init}), True
    if published and not has_published(registry, choice):
        raise ConfigError(
            f"pretrain.init: backbone '{choice.name}' has no published weights. Use init: random, "
            f"or another backbone. {with_published(registry)}"
        )
    encoder = build_encoder(registry, choice, pool.mean, pool.std, config.seed, size, published, images=pool.spec)
    known = None
    if config.init != "random" and not published:
        path = find_path(config.init, "pretrain.init")
        if not path.exists():
            raise ConfigError(
                f"pretrain.init: '{path}' does not exist. Use random, pretrained, the path of {FILES_OF_WEIGHTS}, or "
                f"the name of a backbone with published weights. {with_published(registry)}"
            )
        known = load_weights(encoder.backbone, path)  # before a task copies the backbone to make a teacher
    return _normalising(encoder, config, pool, known)


def _check_same_network(config: PretrainConfig, named: str) -> None:
    """Refuse published weights of another network; `NAME.TAG` names one of several weights of a network."""
    if config.backbone.name not in (named, config.init):
        raise ConfigError(
            f"pretrain.init: '{shown(config.init, 100)}' names weights of another network than pretrain.backbone "
            f"'{config.backbone.name}'. Set pretrain.backbone: {{name: {named}}} or pretrain.backbone: "
            "recipe; both then mean this network."
        )


def _normalising(encoder: Encoder, config: PretrainConfig, pool: Split, known: Statistics | None) -> Encoder:
    """Return an encoder around the same backbone that normalises images as `pretrain.normalisation` says."""
    statistics = _statistics(encoder.backbone, config, pool, known)
    if statistics is None:
        return encoder
    if len(statistics.mean) != pool.spec.channels:
        raise ConfigError(
            f"pretrain.normalisation: it has {len(statistics.mean)} channels, but the images have "
            f"{pool.spec.channels}. Give the mean and std of each of these, or use pool."
        )
    return Encoder(encoder.backbone, statistics.mean, statistics.std, pool.spec)


def _statistics(backbone: Backbone, config: PretrainConfig, pool: Split, known: Statistics | None) -> Statistics | None:
    """Return the mean and std to normalise images by; None: those of the pool.

    Trained weights work as they did only with the normalisation that they were trained with.
    """
    wanted = config.normalisation
    if isinstance(wanted, Normalisation):
        return Statistics(wanted.mean, wanted.std)
    if wanted == "pool" or config.init == "random":
        return None
    if known is not None:
        return known
    if backbone.published_for is not None and pool.spec.is_rgb:
        return Statistics(backbone.published_for.mean, backbone.published_for.std)
    return None


def check_start(config: PretrainConfig, task: PretextTask, name: str) -> None:
    """Refuse settings that protect initial weights where they would have no effect, or not the intended one.

    Args:
        config: The section `pretrain`.
        task: The task, around its encoder.
        name: The task's name, for messages.

    Raises:
        ConfigError: `freeze_epochs` would freeze a random backbone, leaves no epoch in which the backbone learns, or
            leaves nothing to train while it is frozen; or `ema` is set, but the task already ships an average.
    """
    if config.init == "random" and config.freeze_epochs:
        raise ConfigError(
            "pretrain.freeze_epochs freezes trained weights while the heads learn, but pretrain.init is random. Set "
            "pretrain.freeze_epochs: 0, or set pretrain.init to weights."
        )
    if config.freeze_epochs:
        if config.freeze_epochs >= config.epochs:
            raise ConfigError(
                f"pretrain.freeze_epochs: {config.freeze_epochs} of {config.epochs} epochs leave none in which the "
                "backbone learns. Lower it, or raise pretrain.epochs."
            )
        inside = {id(one) for part in task.modules() if isinstance(part, Backbone) for one in part.parameters()}
        if all(id(weight) in inside for weight in task.parameters() if weight.requires_grad):
            raise ConfigError(
                f"pretrain.freeze_epochs: pretext task '{name}' has no heads to train while the backbone is frozen. "
                "Set it to 0."
            )
    if config.ema and task.ships_average:
        raise ConfigError(
            f"pretrain.ema: pretext task '{name}' ships its teacher, which already is a moving average of the weights. "
            "Set it to 0, or let the student ship."
        )


def statistics_of(encoder: Encoder, pool: Split) -> Statistics:
    """Return the mean and std that an encoder normalises by; if they are the pool's, to the last digit."""
    told = Encoder(encoder.backbone, pool.mean, pool.std, pool.spec)
    if torch.equal(told.mean, encoder.mean.cpu()) and torch.equal(told.std, encoder.std.cpu()):
        return Statistics(pool.mean, pool.std)
    mean, std = (tuple(map(float, value.flatten().cpu().numpy().astype(str))) for value in (encoder.mean, encoder.std))
    return Statistics(mean, std)
