"""Checks that refuse, before any image is decoded, what later stages would refuse an hour later; not a stage."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ssl_pipeline import recipes
from ssl_pipeline.artifacts.card import ModelCard
from ssl_pipeline.augment.policy import Policy, check_colours
from ssl_pipeline.config import RECIPE, Config, PretrainConfig, refuse_unknown_views
from ssl_pipeline.data.caption_audit import sift
from ssl_pipeline.data.framing import Framing
from ssl_pipeline.data.image_spec import RGB8, ImageSpec
from ssl_pipeline.data.layout import Record
from ssl_pipeline.data.store import Split
from ssl_pipeline.deployment.rehearsal import tried
from ssl_pipeline.deployment.teachers import check_teacher
from ssl_pipeline.loading import load_registry
from ssl_pipeline.operations import build_operations
from ssl_pipeline.registry import Registry
from ssl_pipeline.training import preparation
from ssl_pipeline.training.captions import refuse_without_captions
from ssl_pipeline.training.optimization import build_optimizer
from ssl_pipeline.training.other_frames import refuse_without_times
from ssl_pipeline.types import PretextTask
from ssl_pipeline_stages.code import used
from ssl_pipeline_stages.others import encoders
from ssl_pipeline_stages.room import room

__all__ = ["Built", "build", "check", "check_export", "check_pile", "check_records"]

MANY = 20_000
"""Number of images from which ingest tries the export first: decoding so many takes longer than the trial."""


class Built(NamedTuple):
    """The model that pretrain would train, with placeholder statistics.

    Attributes:
        task: Pretext task.
        card: Model card of the task.
        views: Policies of the run by kind of view: those of `augment.views`, or the recipe's where `augment.views`
            leaves them to it. Operations of plugins are built.
        pretrain: Section `pretrain`, with the values that the recipe sets.
    """

    task: PretextTask
    card: ModelCard
    views: dict[str, Policy]
    pretrain: PretrainConfig


def check(config: Config) -> Built:
    """Check everything that can be checked before an image is decoded.

    Initial weights are read as well, so that a file that does not fit, or published weights that cannot be downloaded,
    are reported now. Files of other encoders must exist, and their backbones must have valid names and options.

    Args:
        config: Parameters of the run.

    Raises:
        PipelineError: A check fails; the message is that of the later stage.
    """
    registry = load_registry()
    used(registry, config)  # if a plugin is missing, the error names the distribution that it came with
    for look in encoders(config, registry):
        look()
    return build(config, registry)


def check_pile(config: Config, built: Built, records: Sequence[Record]) -> None:
    """Check that the images suit the task and that the run fits the disk, before the images are decoded.

    Raises:
        PipelineError: The task learns from captions or times and there are none, the disk is too small, or the network
            cannot be exported. The export is tried only for a large number of images.
    """
    check_records(built, records)
    room(config, built.task, len(records), RGB8)
    if len(records) >= MANY:
        check_export(built)


def check_records(built: Built, records: Sequence[Record]) -> None:
    """Check that there are captions if the task learns from captions, and times if it learns from times.

    Raises:
        PipelineError: No image that may be trained on has what the task needs.
    """
    refuse_without_times(built.task, built.pretrain, any(record.seconds is not None for record in records))
    seen = [record for record in sift(records).records if record.split in (None, "train")]
    refuse_without_captions(built.task, sum(bool(record.captions) for record in seen))


def build(config: Config, registry: Registry, spec: ImageSpec = RGB8) -> Built:
    """Build the model that pretrain will train.

    Args:
        config: Parameters of the run.
        registry: Registry of plugins.
        spec: Channels and type of the images.

    Raises:
        PipelineError: The parameters are incompatible with each other or with such images.
    """
    method = recipes.method_of(registry, config.pretrain)
    known = config.ingest.pixels.name == "rgb8" or spec != RGB8
    check_teacher(registry, method.recipe.pretext_task, spec if known else None)
    views = build_operations(registry, recipes.resolve_views(method, config.augment.views))
    refuse_unknown_views(config, views)
    section = config.augment.views
    if spec.rgb is None:  # like the stage augment, leave out a recipe's operations on colours
        left = [kind for kind in views if isinstance(section, str) or section[kind] == RECIPE]
        views |= {kind: views[kind].without_colours() for kind in left}
        check_colours(views, spec)
    half, quarter = (0.5,) * spec.channels, (0.25,) * spec.channels
    pool = Split("train", config.ingest.canvas, np.empty(0, np.uint64), half, quarter, "", (), spec=spec)
    task = preparation.build(registry, method.recipe, method.pretrain, pool, views)
    build_optimizer(registry, method.pretrain.optimizer, task, method.pretrain.layer_decay)
    framing = Framing(config.ingest.canvas, config.ingest.resize, (0,) * spec.channels)
    card = preparation.describe_run(method.pretrain, method.recipe, task, pool, framing, views, {})
    return Built(task, card, views, method.pretrain)


def check_export(built: Built) -> float:
    """Try the export, and return its duration in seconds.

    Raises:
        PipelineError: The network cannot be exported, or its graph differs from the torch model.
    """
    return tried(built.task.encoder, built.card)
