"""Recipes: named methods as data: a pretext task and, where the task takes them, a loss and negatives."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ssl_pipeline.config import Choice, PretrainConfig, explain
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.registry import Registry

__all__ = ["Recipe", "resolve"]


class Recipe(BaseModel):
    """What is learned from, and how energies are shaped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    pretext_task: Choice
    loss: Choice | None = None
    negatives: Choice | None = None

    def parts(self) -> dict[str, Choice]:
        """The plugins it names, by kind."""
        parts = {"pretext_task": self.pretext_task, "loss": self.loss, "negatives": self.negatives}
        return {kind: choice for kind, choice in parts.items() if choice is not None}


def resolve(registry: Registry, config: PretrainConfig) -> Recipe:
    """The recipe of params.yaml with its single overrides merged in.

    An override with another `name` replaces that part; without one it changes options of the recipe's own.

    Raises:
        ConfigError: Unknown recipe, or one that is not well-formed.
    """
    content: dict[str, Any] = dict(registry.build("recipe", Choice(name=config.recipe)))
    overrides = {"pretext_task": config.pretext_task, "loss": config.loss, "negatives": config.negatives}
    for part, override in overrides.items():
        if not override:
            continue
        base = content.get(part) or {}
        if not base and "name" not in override:
            raise ConfigError(f"pretrain.{part}: recipe '{config.recipe}' has none; name one, or leave it {{}}.")
        replaces = override.get("name", base.get("name")) != base.get("name")
        content[part] = override if replaces else {**base, **override}
    try:
        return Recipe.model_validate({**content, "name": config.recipe})
    except ValidationError as error:
        raise ConfigError(f"recipe '{config.recipe}': " + "; ".join(explain(error, Recipe))) from error
