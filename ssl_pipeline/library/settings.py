"""The settings of `ssl_pipeline.pretrain`: named as in params.yaml, each with a default value."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from ssl_pipeline.config import RECIPE, AugmentConfig, IngestConfig, PretrainSection
from ssl_pipeline.data.decode import Canvas
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown
from ssl_pipeline.validation import explain, hint

__all__ = ["CHOSEN", "NAMES", "Settings", "read_settings"]

CHOSEN: dict[str, Any] = {
    "seed": 0,
    "resize": "crop",
    "background": (255, 255, 255),
    "pixels": "rgb8",
    "min_side": 8,
    "max_megapixels": 100,
    "max_reject_fraction": 0.1,
    "views": RECIPE,
    "recipe_size": "small",
    "pretext_task": {},
    "loss": {},
    "negatives": {},
    "backbone": RECIPE,
    "init": "random",
    "init_licence": None,
    "normalisation": "start",
    "settle_norms": True,
    "freeze_norms": True,
    "freeze_epochs": 0,
    "layer_decay": 1.0,
    "ema": 0.0,
    "ship": "last",
    "epochs": RECIPE,
    "batch_size": RECIPE,
    "optimizer": RECIPE,
    "warmup": RECIPE,
    "clip_norm": RECIPE,
    "micro_batch": None,
    "positives": None,
    "resolution": [[0, 1.0]],
    "precision": "auto",
    "checkpoint_minutes": 1.0,
    "on_collapse": "stop",
    "collapse": {"min_embedding_std": 0.02, "min_effective_rank": 1.5},
}
"""Default values of the settings: the recipe's, or else those of the shipped params.yaml."""

NAMES = ("canvas", *CHOSEN)
"""The names of all settings. The default canvas depends on the size of the views."""

_OF_STAGES = {"source": "images", "val_fraction": 0.1, "test_fraction": 0.1, "devices": 1}
"""Values of the stages' settings that pretraining in one call does not use: source, splits and more processes."""

Section = TypeVar("Section", bound=BaseModel)


class Settings(NamedTuple):
    """The checked settings.

    Attributes:
        pretrain: The section `pretrain`, in which values may be left to the recipe.
        augment: The section `augment`.
        ingest: The section `ingest`; its canvas is a placeholder of 8 px unless `canvas_is_given`.
        canvas_is_given: Whether the caller passed a canvas.
    """

    pretrain: PretrainSection
    augment: AugmentConfig
    ingest: IngestConfig
    canvas_is_given: bool

    def canvas(self, size: int) -> Canvas:
        """Return the canvas that images are brought to, for views of up to `size` px."""
        section = self.ingest
        side = section.canvas if self.canvas_is_given else min(1024, max(8, size + size // 8))  # room for crops
        shape = side, section.resize, section.background, section.min_side, section.max_megapixels
        return Canvas(*shape, section.pixels)


def read_settings(recipe: str, given: Mapping[str, Any]) -> Settings:
    """Check settings in the same way as params.yaml.

    Args:
        recipe: The name of the recipe.
        given: Settings of the sections ingest, augment and pretrain, by their names in params.yaml.

    Raises:
        ConfigError: At least one setting is wrong; the message has one line per mistake, which names the setting.
    """
    lines = [f"{shown(name, 60)}: unknown setting.{hint(name, NAMES)}" for name in given if name not in NAMES]
    values = {**CHOSEN, "canvas": 8, **_OF_STAGES, "recipe": recipe, **given}
    sections: dict[type[BaseModel], Any] = {}
    for model in (PretrainSection, AugmentConfig, IngestConfig):
        try:
            sections[model] = model.model_validate({name: values[name] for name in model.model_fields})
        except ValidationError as error:
            lines += explain(error, model)
    if lines:
        raise ConfigError("\n".join(dict.fromkeys(lines)))  # all three sections have a seed: report it once
    return Settings(sections[PretrainSection], sections[AugmentConfig], sections[IngestConfig], "canvas" in given)
