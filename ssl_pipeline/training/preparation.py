"""What a run of pretraining is made of: the task and its views, and the card that says what was trained."""

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
    """Refuse policies that lack a kind of view.

    Args:
        needs: The kinds of views that a task needs.
        name: The task's name, for messages.
        policies: Kind of view -> policy, from `augment`.

    Raises:
        ConfigError: A kind is missing, or does not have as many policies as there are views of it.
    """
    for kind in needs.counts:
        if kind not in policies:
            raise ConfigError(
                f"augment.views.{kind}: missing, but pretext task '{name}' learns from views of this kind "
                f"(there are: {', '.join(policies)}). Add it."
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
            "and a policy for each would give away which frame it is. Give one policy."
        )


def check_operations(task: PretextTask, name: str, policies: Mapping[str, Policy]) -> None:
    """Refuse policies with operations that would spoil a task.

    Raises:
        ConfigError: A kind of view that the task needs has an operation that it forbids.
    """
    for kind in task.views.counts:
        for operation in sorted(task.forbidden & policies[kind].active()):
            raise ConfigError(
                f"augment.views.{kind}.{operation}: pretext task '{name}' cannot be learned from views with this "
                "operation, which gives its answer away or makes it undecidable. Leave it out, or set its p to 0."
            )


def check_sizes(encoder: Encoder, name: str, main: str, sizes: Mapping[str, int], parts: Mapping[str, int]) -> None:
    """Try images of further sizes on a backbone, most of which take any.

    Args:
        encoder: The encoder, which is left as it is.
        name: The backbone's name, for messages.
        main: The kind of view that the backbone was built for, and takes.
        sizes: Kind of view -> side in px.
        parts: What the task cuts from views -> side in px.

    Raises:
        ConfigError: The backbone does not map views or parts of some other size to embeddings of its one length, or
            does not look at all of them.
    """
    wanted = [(f"augment.views.{kind}.size", "views", size) for kind, size in sizes.items()]
    wanted += [("pretrain.backbone", f"the task's {part}s", size) for part, size in parts.items()]
    for key, what, size in wanted:
        reason = refusal(encoder, size) if size != sizes[main] else ""
        if reason:
            raise ConfigError(
                f"{key}: backbone '{name}', built for the {sizes[main]} px of augment.views.{main}, cannot take {what} "
                f"of {size} px: {reason}. Make the two sizes equal, or take a backbone for any size."
            )


def build(
    registry: Registry, recipe: Recipe, config: PretrainConfig, pool: Split, policies: Mapping[str, Policy]
) -> PretextTask:
    """Return a recipe's task around a new encoder, started as `pretrain.init` says.

    Raises:
        ConfigError: The registry, the policies or the initial weights do not fit what params.yaml asks for.
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
            f"pretrain.init: random, and pretext task '{name}' with these options leaves the backbone as it starts, so "
            "that a network of random weights would ship. Name a file of weights, or pretrained."
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
    """Refuse a backbone that does not take the views that it was built for, and name the nearest size that it takes."""
    reason = refusal(encoder, size)
    if not reason:
        return
    name = config.backbone.name
    build = partial(build_encoder, registry, config.backbone, pool.mean, pool.std, 0, images=pool.spec)
    near = nearest_size(build, encoder, size)
    advice = f"Set it to {near}, or take another backbone" if near else "Take another backbone"
    raise ConfigError(
        f"augment.views.{kind}.size: backbone '{name}' cannot be trained on views of {size} px: {reason}. {advice}."
    )


def _check_learns(config: PretrainConfig, task: PretextTask) -> None:
    """Refuse a run without training where random weights would ship."""
    if config.epochs:
        return
    if config.init == "random":
        raise ConfigError(
            "pretrain.epochs: 0 trains nothing, and with pretrain.init: random a network of random weights would ship. "
            "Name weights in pretrain.init, which then ship as they are, or set pretrain.epochs to at least 1."
        )
    reasons = {
        "would ship a text tower of random weights": task.text_tower is not None,
        "would ship an encoder that sees no colours": task.encoder.grayscale,
        "would ask its teacher for nothing": task.teaching is not None,
    }
    if reason := next((reason for reason, holds in reasons.items() if holds), ""):
        raise ConfigError(
            f"pretrain.epochs: 0 trains nothing, and recipe '{config.recipe}' {reason}. Choose a recipe that learns "
            "from images alone and in colour, or set pretrain.epochs to at least 1."
        )


def starting_weights(task: PretextTask, config: PretrainConfig) -> dict[str, Tensor]:
    """Copy the encoder's weights before training, where `pretrain.init` gives some; empty where they are random.

    They are empty, too, where nothing is trained: what ships would be compared with itself.
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
    """Return the card of a trained task; the digest of its weights is filled in when they are saved.

    Args:
        config: The parameters.
        recipe: The recipe, resolved.
        task: The trained task.
        pool: The training images.
        framing: How images became canvases.
        policies: Kind -> how canvases become views.
        plugins: Third-party distribution -> version.
        held_out: The images that the run is watched on; None: it is not.
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
                "parameters": shaping(config, "seed", "init"),  # a copy of a file of weights has another name
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
    """Return the licence of the weights that were given, as far as it is known."""
    if config.init == "random":
        return ""
    return config.init_licence or ("" if given_digest(config.init) else backbone.published_licence)
