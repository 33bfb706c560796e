"""Not a stage of its own: what pretrain would refuse is refused before images are decoded for an hour."""

import numpy as np

from plugins import load_registry
from ssl_pipeline import lock, recipes
from ssl_pipeline.config import Config
from ssl_pipeline.data.store import Split
from ssl_pipeline.training import preparation
from stages.paths import PLUGINS_LOCK


def check(config: Config) -> None:
    """Build what pretrain will train, with statistics that are nobody's, and forget it.

    Initial weights are read as well: a file that does not fit, or published ones that cannot be had, are told now.

    Raises:
        PipelineError: As pretrain would say it.
    """
    registry, section = load_registry(), config.pretrain
    lock.check(PLUGINS_LOCK, registry, section)
    recipe = recipes.resolve(registry, section)
    pool = Split("train", config.augment.canvas, np.empty(0, np.uint64), (0.5,) * 3, (0.25,) * 3, "", ())
    preparation.build(registry, recipe, section, pool, config.augment.views)
