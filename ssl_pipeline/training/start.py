"""What training starts from: an encoder of random weights, or of given ones, which sees images as they were trained."""

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
        registry: The registry in which the backbone is found.
        config: The section `pretrain`.
        pool: The training images.
        size: The side of views in px.

    Raises:
        ConfigError: There are no such weights, they do not fit the backbone, or the normalisation not the images.
        PipelineError: Published weights could not be downloaded.
    """
    choice, published = config.backbone, config.init == "pretrained"
    if named := named_weights(registry, config.init):
        _check_same_network(config, named)
        choice, published = choice.model_copy(update={"name": config.init}), True
    if published and not has_published(registry, choice):
        raise ConfigError(
            f"pretrain.init: backbone '{choice.name}' has no published weights; use init: random, "
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
        known = load_weights(encoder.backbone, path)  # before a teacher is copied from it
    return _normalising(encoder, config, pool, known)


def _check_same_network(config: PretrainConfig, named: str) -> None:
    """Refuse published weights of another network; a name may also say which of its weights, as `NAME.TAG`."""
    if config.backbone.name not in (named, config.init):
        raise ConfigError(
            f"pretrain.init: '{shown(config.init, 100)}' are weights of another network than pretrain.backbone "
            f"'{config.backbone.name}': set pretrain.backbone: {{name: {named}}}, or recipe, which then stands for it."
        )


def _normalising(encoder: Encoder, config: PretrainConfig, pool: Split, known: Statistics | None) -> Encoder:
    """Return an encoder around the same backbone that normalises images as `pretrain.normalisation` says."""
    statistics = _statistics(encoder.backbone, config, pool, known)
    if statistics is None:
        return encoder
    if len(statistics.mean) != pool.spec.channels:
        raise ConfigError(
            f"pretrain.normalisation: of {len(statistics.mean)} channels, and the images have {pool.spec.channels}: "
            "give mean and std of each of these, or pool."
        )
    return Encoder(encoder.backbone, statistics.mean, statistics.std, pool.spec)


def _statistics(backbone: Backbone, config: PretrainConfig, pool: Split, known: Statistics | None) -> Statistics | None:
    """Return what images are normalised by; None: the pool's own mean and std.

    Weights that are given were trained with a normalisation, and are what they were with that one alone.
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
    """Refuse what is to keep a start from being ruined where it would do nothing, or something else.

    Args:
        config: The section `pretrain`.
        task: The task, around its encoder.
        name: The task's name, for messages.

    Raises:
        ConfigError: A random backbone is to be frozen, or no epoch is left in which it learns, or nothing learns beside
            it; or the task ships an average of its own.
    """
    if config.init == "random" and config.freeze_epochs:
        raise ConfigError(
            "pretrain.freeze_epochs keeps given weights as they are while heads learn, and pretrain.init is random: "
            "leave it out, or name weights."
        )
    if config.freeze_epochs:
        if config.freeze_epochs >= config.epochs:
            raise ConfigError(
                f"pretrain.freeze_epochs: {config.freeze_epochs} of {config.epochs} epochs leave none in which the "
                "backbone learns: lower it, or raise pretrain.epochs."
            )
        inside = {id(one) for part in task.modules() if isinstance(part, Backbone) for one in part.parameters()}
        if all(id(weight) in inside for weight in task.parameters() if weight.requires_grad):
            raise ConfigError(
                f"pretrain.freeze_epochs: pretext task '{name}' has no heads that could learn beside a frozen "
                "backbone: set it to 0."
            )
    if config.ema and task.ships_average:
        raise ConfigError(
            f"pretrain.ema: pretext task '{name}' ships its teacher, which is a moving average of the weights already: "
            "set it to 0, or let the student ship."
        )


def statistics_of(encoder: Encoder, pool: Split) -> Statistics:
    """Return what an encoder normalises by: the pool's own values to the last digit where they are the pool's."""
    told = Encoder(encoder.backbone, pool.mean, pool.std, pool.spec)
    if torch.equal(told.mean, encoder.mean.cpu()) and torch.equal(told.std, encoder.std.cpu()):
        return Statistics(pool.mean, pool.std)
    mean, std = (tuple(map(float, value.flatten().cpu().numpy().astype(str))) for value in (encoder.mean, encoder.std))
    return Statistics(mean, std)
