"""Recipes: named methods as data: a pretext task and, where the task takes them, a loss and negatives."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ssl_pipeline.config import Choice, PretrainConfig
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.registry import Registry
from ssl_pipeline.validation import explain

__all__ = ["Recipe", "resolve"]


class Parts(BaseModel):
    """What is learned from, and how energies are shaped."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pretext_task: Choice
    loss: Choice | None = None
    negatives: Choice | None = None

    def parts(self) -> dict[str, Choice]:
        """The plugins it names, by kind."""
        parts = {"pretext_task": self.pretext_task, "loss": self.loss, "negatives": self.negatives}
        return {kind: choice for kind, choice in parts.items() if choice is not None}


class Recipe(Parts):
    """Parts under the name of their recipe."""

    name: str


class Overrides(BaseModel):
    """Options of each part that change a recipe's own, or with another `name` a choice that replaces it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pretext_task: dict[str, Any] = Field(default_factory=dict)
    loss: dict[str, Any] = Field(default_factory=dict)
    negatives: dict[str, Any] = Field(default_factory=dict)


class Registered(Parts):
    """What a plugin registers: the paper's settings, and what is different in the size `small`."""

    small: Overrides = Overrides()

    @model_validator(mode="before")
    @classmethod
    def _embedded_is_now_small(cls, value: Any) -> Any:
        if isinstance(value, dict) and "embedded" in value:
            raise ValueError("the key 'embedded' is now called 'small': rename it")
        return value


def resolve(registry: Registry, config: PretrainConfig) -> Recipe:
    """The recipe of params.yaml in the size that it asks for, with its single overrides merged in.

    An override with another `name` replaces that part; without one it changes options of the recipe's own.

    Raises:
        ConfigError: Unknown recipe, one that is not well-formed, or an override of a part that is not there.
    """
    where = f"recipe '{config.recipe}'"
    try:
        registered = Registered.model_validate(registry.build("recipe", Choice(name=config.recipe)))
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(explain(error, Registered))) from error
    parts = registered.parts()
    if config.recipe_size == "small":
        parts = _merged(parts, registered.small, f"{where}: small")
    own = Overrides(pretext_task=config.pretext_task, loss=config.loss, negatives=config.negatives)
    return Recipe.model_validate({"name": config.recipe, **_merged(parts, own, "pretrain", where)})


def _merged(parts: Mapping[str, Choice], overrides: Overrides, key: str, owner: str = "it") -> dict[str, Choice]:
    merged = dict(parts)
    for part, override in overrides.model_dump().items():
        base = parts.get(part)
        if not override:
            continue
        if base is None and "name" not in override:
            raise ConfigError(f"{key}.{part}: {owner} has none; name one, or leave it {{}}.")
        kept = base.model_dump() if base and override.get("name", base.name) == base.name else {}
        merged[part] = Choice.model_validate({**kept, **override})
    return merged
