"""Not a stage of its own: what pretrain would refuse is refused before images are decoded for an hour."""

import numpy as np

from ssl_pipeline import recipes
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import Config, refuse_unknown_views
from ssl_pipeline.data.store import Split
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.evaluation.linear.rivals import check_rival
from ssl_pipeline.loading import load_registry
from ssl_pipeline.operations import build_operations
from ssl_pipeline.terminal import shown
from ssl_pipeline.training import preparation
from ssl_pipeline.training.optimization import build_optimizer
from ssl_pipeline.workspace import find_path
from ssl_pipeline_stages.code import used


def check(config: Config) -> dict[str, Policy]:
    """Build what pretrain will train, with placeholder statistics, and discard it.

    Initial weights are read as well: a file that does not fit, or published ones that cannot be downloaded, are told
    now. Files of other encoders must be there, and their backbones must have the names and options that are asked for.

    Returns:
        The kinds of views of the run: those of `augment.views`, and the recipe's where it says so; operations of
        plugins are built.

    Raises:
        PipelineError: As the later stage would say it.
    """
    registry = load_registry()
    used(registry, config)  # of a plugin that is missing it says with what it came
    for rival in config.linear_eval.rivals:
        check_rival(rival, registry)
    for folder in config.finetune.encoders:
        if not find_path(folder, "finetune.encoders").is_dir():
            raise ConfigError(
                f"finetune.encoders: '{shown(folder, 200)}' is not a directory. Name copies of the folder "
                "models/pretrain."
            )
    method = recipes.method_of(registry, config.pretrain)
    views = build_operations(registry, recipes.resolve_views(method, config.augment.views))
    refuse_unknown_views(config, views)
    pool = Split("train", config.ingest.canvas, np.empty(0, np.uint64), (0.5,) * 3, (0.25,) * 3, "", ())
    task = preparation.build(registry, method.recipe, method.pretrain, pool, views)
    build_optimizer(registry, method.pretrain.optimizer, task)
    return views
