"""Preparation of a pretraining run: build and check its task and views, and describe it in a model card."""

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from ssl_pipeline import ranks
from ssl_pipeline.artifacts.assembly import build_encoder, build_task, needed_views
from ssl_pipeline.artifacts.card import ModelCard, versions
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.data.framing import Framing
from ssl_pipeline.data.store import Split
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.products import digest
from ssl_pipeline.provenance.fingerprint import given_teacher, shaping
from ssl_pipeline.provenance.given_weights import given_digest
from ssl_pipeline.recipes import Recipe
from ssl_pipeline.registry import Registry
from ssl_pipeline.training.other_frames import check_positives
from ssl_pipeline.training.sizes import nearest_size, refusal
from ssl_pipeline.training.start import check_start, start_encoder, statistics_of
from ssl_pipeline.training.view_sizes import check_resolution, sides_over_time
from ssl_pipeline.types import Backbone, Encoder, PretextTask, ViewNeeds

__all__ = ["build", "check_kinds", "check_operations", "check_sizes", "describe_run", "starting_weights"]


def check_kinds(needs: ViewNeeds, name: str, policies: Mapping[str, Policy]) -> None:
    """Refuse policies that lack a kind of view, or give it the wrong number of policies.

    Args:
        needs: The kinds of views that a task needs.
        name: The task's name, for messages.
        policies: Kind of view -> policy, from `augment`.

    Raises:
        ConfigError: A kind is missing, or has neither one policy nor as many as there are views of this kind.
    """
    for kind in needs.counts:
        if kind not in policies:
            raise ConfigError(
                f"augment.views.{kind}: missing, but pretext task '{name}' learns from views of this kind "
                f"(there are only: {', '.join(policies)}). Add it."
            )
        told_apart, count = len(policies[kind].each), needs.counts[kind]
        if told_apart not in (1, count):
            raise ConfigError(
                f"augment.views.{kind}: a list of {told_apart} policies, but pretext task '{name}' learns from {count} "
                f"view{'s' * (count > 1)} of this kind. Give one policy, or as many as there are views."
            )
    if needs.frames and len(policies[needs.main].each) > 1:
        raise ConfigError(
            f"augment.views.{needs.main}: a list of policies, but pretext task '{name}' learns from frames of a clip, "
            "and different policies would give away which frame is which. Give one policy."
        )


def check_operations(task: PretextTask, name: str, policies: Mapping[str, Policy]) -> None:
    """Refuse policies with operations that would spoil a task.

    Raises:
        ConfigError: A kind of view that the task needs has an operation that the task forbids.
    """
    for kind in task.views.counts:
        for operation in sorted(task.forbidden & policies[kind].active()):
            raise ConfigError(
                f"augment.views.{kind}.{operation}: pretext task '{name}' cannot be learned from views with this "
                "operation, which gives the answer away or makes it undecidable. Remove it, or set its p to 0."
            )


def check_sizes(encoder: Encoder, name: str, main: str, sizes: Mapping[str, int], parts: Mapping[str, int]) -> None:
    """Check that a backbone takes images of all sizes that a run needs, as most backbones do.

    Args:
        encoder: The encoder, which is not changed.
        name: The backbone's name, for messages.
        main: The kind of view that the backbone was built for, whose size it takes.
        sizes: Kind of view -> side in px.
        parts: Parts that the task cuts from views: name -> side in px.

    Raises:
        ConfigError: The backbone does not map views or parts of another size to embeddings of the same length, or does
            not look at all of their pixels.
    """
    wanted = [(f"augment.views.{kind}.size", "views", size) for kind, size in sizes.items()]
    wanted += [("pretrain.backbone", f"the task's {part}s", size) for part, size in parts.items()]
    for key, what, size in wanted:
        reason = refusal(encoder, size) if size != sizes[main] else ""
        if reason:
            raise ConfigError(
                f"{key}: backbone '{name}', built for the {sizes[main]} px of augment.views.{main}, cannot take {what} "
                f"of {size} px: {reason}. Make the two sizes equal, or choose a backbone that takes any size."
            )


def build(
    registry: Registry, recipe: Recipe, config: PretrainConfig, pool: Split, policies: Mapping[str, Policy]
) -> PretextTask:
    """Return a recipe's task around a new encoder, which is initialised as `pretrain.init` says.

    Raises:
        ConfigError: params.yaml names unknown plugins, or its policies or initial weights do not fit the task.
    """
    name, needs = recipe.pretext_task.name, needed_views(registry, recipe.pretext_task)
    check_kinds(needs, name, policies)
    check_positives(needs, name, config)
    sizes = {kind: policies[kind].size for kind in needs.counts}
    encoder = start_encoder(registry, config, pool, sizes[needs.main])
    task = build_task(registry, recipe, encoder, config.seed, sizes[needs.main])
    _check_learns(config, task)
    weights = list(task.encoder.backbone.parameters())
    if config.init == "random" and weights and not any(weight.requires_grad for weight in weights):
        raise ConfigError(
            f"pretrain.init: random, but pretext task '{name}' with these options does not train the backbone, so a "
            "network of random weights would ship. Set pretrain.init to a file of weights, or to pretrained."
        )
    check_start(config, task, name)
    check_operations(task, name, policies)
    _check_main(registry, config, pool, task.encoder, needs.main, sizes[needs.main])
    check_sizes(task.encoder, config.backbone.name, needs.main, sizes, task.parts)
    check_resolution(registry, recipe, task, policies, config)
    return task


def _check_main(
    registry: Registry, config: PretrainConfig, pool: Split, encoder: Encoder, kind: str, size: int
) -> None:
    """Refuse a backbone that does not take views of the size it was built for, and name the nearest size it takes."""
    reason = refusal(encoder, size)
    if not reason:
        return
    name = config.backbone.name
    build = partial(build_encoder, registry, config.backbone, pool.mean, pool.std, 0, images=pool.spec)
    near = nearest_size(build, encoder, size)
    advice = f"Set it to {near}, or choose another backbone" if near else "Choose another backbone"
    raise ConfigError(
        f"augment.views.{kind}.size: backbone '{name}' cannot be trained on views of {size} px: {reason}. {advice}."
    )


def _check_learns(config: PretrainConfig, task: PretextTask) -> None:
    """Refuse a run without training if random weights would ship."""
    if config.epochs:
        return
    if config.init == "random":
        raise ConfigError(
            "pretrain.epochs: 0 trains nothing, so with pretrain.init: random a network of random weights would ship. "
            "Set pretrain.init to weights, which then ship unchanged, or set pretrain.epochs to at least 1."
        )
    reasons = {
        "would ship a text tower of random weights": task.text_tower is not None,
        "would ship an encoder that sees no colours": task.encoder.grayscale,
        "would learn nothing from its teacher": task.teaching is not None,
    }
    if reason := next((reason for reason, holds in reasons.items() if holds), ""):
        raise ConfigError(
            f"pretrain.epochs: 0 trains nothing, so recipe '{config.recipe}' {reason}. Choose a recipe that learns "
            "only from images, in colour and without a teacher, or set pretrain.epochs to at least 1."
        )


def starting_weights(task: PretextTask, config: PretrainConfig) -> dict[str, Tensor]:
    """Return a copy of the encoder's weights before training.

    The mapping is empty if these weights are random, and if nothing is trained, as the encoder would then be compared
    with itself.
    """
    if config.init == "random" or not config.epochs:
        return {}
    return {name: value.clone() for name, value in task.encoder.state_dict().items()}


def describe_run(
    config: PretrainConfig,
    recipe: Recipe,
    task: PretextTask,
    pool: Split,
    framing: Framing,
    policies: Mapping[str, Policy],
    plugins: Mapping[str, str],
    held_out: Split | None = None,
) -> ModelCard:
    """Return the model card of a trained task, without the digest of its weights, which is added when they are saved.

    Args:
        config: The section `pretrain`.
        recipe: The resolved recipe.
        task: The trained task.
        pool: The training images.
        framing: The way in which images became canvases.
        policies: Kind of view -> policy.
        plugins: Third-party distribution -> version.
        held_out: The held-out images that the run is monitored on; None: it is not monitored.
    """
    statistics = statistics_of(task.encoder, pool)
    chosen_on = {"held_out": held_out.sha256} if held_out is not None and config.ship == "best" else {}
    return ModelCard(
        backbone=config.backbone,
        recipe=recipe,
        embedding_dim=task.encoder.embedding_dim,
        projection_dim=task.encoder.projection_dim,
        grayscale=task.encoder.grayscale,
        size=policies[task.views.main].size,
        view_sizes=sides_over_time(task, policies, config),
        resize=framing.resize,
        background=framing.background,
        images=pool.spec,
        mean=statistics.mean,
        std=statistics.std,
        seed=config.seed,
        batch_size=config.batch_size,
        ranks=ranks.count(),
        pretrain=config,
        init=config.init,
        init_sha256=given_digest(config.init) or "",
        init_licence=_licence(config, task.encoder.backbone),
        weights_sha256="",
        params_sha256=digest(shaping(config)),
        seedless_sha256=digest(
            {
                "parameters": shaping(config, "seed", "init"),  # a copied file of weights has another name
                "initial": given_digest(config.init) or config.init,
                "policies": {kind: policies[kind].model_dump(mode="json") for kind in task.views.counts},
                "pool": pool.sha256,
                **given_teacher(config),
                **chosen_on,
            }
        ),
        teacher_sha256=given_teacher(config).get("teacher", {}).get("teacher", ""),
        plugins=dict(plugins),
        versions=versions(*(["tokenizers"] if task.text_tower is not None else [])),
    )


def _licence(config: PretrainConfig, backbone: Backbone) -> str:
    """Return the licence of the initial weights, as far as it is known."""
    if config.init == "random":
        return ""
    return config.init_licence or ("" if given_digest(config.init) else backbone.published_licence)
