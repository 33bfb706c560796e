"""The settings of `ssl_pipeline.pretrain`: those of params.yaml, by their names there, with values for all of them."""

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
"""Values that stand where none is given: the recipe's own, or else those of the shipped params.yaml."""

NAMES = ("canvas", *CHOSEN)
"""The names of all settings; where no canvas is given, it is chosen by the size of the views."""

_OF_STAGES = {"source": "images", "val_fraction": 0.1, "test_fraction": 0.1, "devices": 1}
"""What stages have beside them, and pretraining in one call does without: splits, and further processes."""

Section = TypeVar("Section", bound=BaseModel)


class Settings(NamedTuple):
    """The settings, checked.

    Attributes:
        pretrain: The section `pretrain`, in which values may be left to the recipe.
        augment: The section `augment`.
        ingest: The section `ingest`; of a canvas of 8 px where none was given.
        canvas_is_given: Whether one was.
    """

    pretrain: PretrainSection
    augment: AugmentConfig
    ingest: IngestConfig
    canvas_is_given: bool

    def canvas(self, size: int) -> Canvas:
        """Return how images become canvases, for views of up to a size in px."""
        section = self.ingest
        side = section.canvas if self.canvas_is_given else min(1024, max(8, size + size // 8))  # room for crops
        shape = side, section.resize, section.background, section.min_side, section.max_megapixels
        return Canvas(*shape, section.pixels)


def read_settings(recipe: str, given: Mapping[str, Any]) -> Settings:
    """Check settings as params.yaml is checked.

    Args:
        recipe: The name of the recipe.
        given: Settings by their names in params.yaml, of the sections ingest, augment and pretrain.

    Raises:
        ConfigError: One line for each mistake, each naming its setting.
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
        raise ConfigError("\n".join(dict.fromkeys(lines)))  # a seed is that of three sections
    return Settings(sections[PretrainSection], sections[AugmentConfig], sections[IngestConfig], "canvas" in given)
