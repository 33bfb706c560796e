"""Not a stage of its own: what pretrain would refuse is refused before images are decoded for an hour."""

import numpy as np

from plugins import load_registry
from ssl_pipeline import lock, recipes
from ssl_pipeline.config import Choice, Config, Rival
from ssl_pipeline.data.store import Split
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.registry import Registry
from ssl_pipeline.terminal import shown
from ssl_pipeline.training import preparation
from ssl_pipeline.workspace import find
from stages.paths import PLUGINS_LOCK


def check(config: Config) -> None:
    """Build what pretrain will train, with placeholder statistics, and discard it.

    Initial weights are read as well: a file that does not fit, or published ones that cannot be downloaded, are told
    now. Files of other encoders must be there, and their backbones must have the names and options that are asked for.

    Raises:
        PipelineError: As the later stage would say it.
    """
    registry, section = load_registry(), config.pretrain
    lock.check(PLUGINS_LOCK, registry, section)
    for rival in config.linear_eval.rivals:
        _check_rival(registry, rival)
    for folder in config.finetune.encoders:
        if not find(folder, "finetune.encoders").is_dir():
            raise ConfigError(
                f"finetune.encoders: '{shown(folder, 200)}' is not a directory. Name copies of the folder "
                "models/pretrain."
            )
    recipe = recipes.resolve(registry, section)
    pool = Split("train", config.augment.canvas, np.empty(0, np.uint64), (0.5,) * 3, (0.25,) * 3, "", ())
    preparation.build(registry, recipe, section, pool, config.augment.views)


def _check_rival(registry: Registry, rival: Rival) -> None:
    key = f"linear_eval.rivals, '{shown(rival.weights, 200)}'"
    path = find(rival.weights, "linear_eval.rivals")
    is_file = path.suffix in (".onnx", ".safetensors")
    if is_file and not path.is_file():
        raise ConfigError(f"{key}: there is no such file.")
    choice = rival.backbone or (None if is_file else Choice(name=rival.weights))
    if choice:
        try:
            registry.validate(registry.find("backbone", choice.name), choice)
        except ConfigError as error:
            raise ConfigError(str(error).replace("pretrain.backbone", f"{key}: backbone")) from error
