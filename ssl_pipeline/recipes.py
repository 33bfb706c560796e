"""Recipes: whole methods as data, each in the paper's size and in a small one.

A recipe names a pretext task and, if the task takes them, a loss and negatives. It also sets the views, the backbone,
the optimizer and the schedule. params.yaml can override all of these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import (
    RECIPE,
    Choice,
    Optimizer,
    PretrainConfig,
    PretrainSection,
    Size,
)
from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.moved_keys import WARMUP_EPOCHS
from ssl_pipeline.positives_config import Positives
from ssl_pipeline.registry import Registry
from ssl_pipeline.validation import Checked, explain
from ssl_pipeline.value_types import Amount, BatchSize, Count, Share
from ssl_pipeline.weight_names import named_weights

__all__ = [
    "SMALL",
    "Method",
    "Recipe",
    "Settings",
    "method_of",
    "resolve",
    "resolve_views",
    "said_by",
    "suited",
]


class Parts(BaseModel):
    """Pretext task of a method, with its loss and its negative-sampling strategy."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pretext_task: Choice
    loss: Choice | None = None
    negatives: Choice | None = None

    def parts(self) -> dict[str, Choice]:
        """Return the plugins that the parts name, by kind."""
        parts = {"pretext_task": self.pretext_task, "loss": self.loss, "negatives": self.negatives}
        return {kind: choice for kind, choice in parts.items() if choice is not None}


class Recipe(Parts):
    """Parts of a method with the name of their recipe."""

    name: str


class Settings(Checked):
    """Views, network, optimizer and schedule of a method; None for values that the recipe does not set.

    Attributes:
        views: Kind of view -> its policy, or a list of policies, one per view of an image.
        backbone: Network to train, with its options.
        optimizer: Optimizer and its options.
        batch_size: Number of images per step.
        epochs: Number of passes over the training images.
        warmup: Share of the steps in which the learning rate rises linearly, in [0, 1).
        clip_norm: Largest norm of the gradient; 0 to disable clipping.
        positives: Maximum distance in time to the frame that a second view shows; None if views are of one image.
    """

    views: dict[str, Policy] = Field(default_factory=dict)
    backbone: Choice | None = None
    optimizer: Optimizer | None = None
    batch_size: BatchSize | None = None
    epochs: Count | None = None
    warmup: Share | None = None
    clip_norm: Amount | None = None
    positives: Positives | None = None

    def over(self, base: "Settings") -> "Settings":
        """Return these settings, with missing values taken from `base`; views are merged kind by kind."""
        said = {name: value for name, value in self if value is not None}
        return base.model_copy(update={**said, "views": {**base.views, **self.views}})


class Overrides(BaseModel):
    """Options that change those of a recipe's parts; with another `name`, they replace the part."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pretext_task: dict[str, Any] = Field(default_factory=dict)
    loss: dict[str, Any] = Field(default_factory=dict)
    negatives: dict[str, Any] = Field(default_factory=dict)


class Small(Overrides, Settings):
    """Differences of a recipe in the size `small`."""


class Registered(Parts, Settings):
    """Recipe as a plugin registers it: the paper's parts and settings, and the differences in the size `small`."""

    small: Small = Small()

    @model_validator(mode="before")
    @classmethod
    def _keys_of_an_earlier_version(cls, value: Any) -> Any:
        if isinstance(value, dict) and "embedded" in value:
            raise ValueError("the key 'embedded' is now called 'small': rename it")
        if isinstance(value, dict) and WARMUP_EPOCHS in value:
            raise ValueError(f"the key '{WARMUP_EPOCHS}' is now 'warmup', the share of the steps in [0, 1): replace it")
        return value


SMALL = Settings.model_validate(
    {
        "views": {
            # as SimCLR for photographs of 32 px (2002.05709, appendix B.9): colour jitter at half strength, no blur
            "global": {
                "size": 32,
                "random_resized_crop": {"p": 1.0, "scale": [0.2, 1.0], "ratio": [0.75, 1.333]},
                "horizontal_flip": {"p": 0.5},
                "color_jitter": {"p": 0.8, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1},
                "grayscale": {"p": 0.2},
            },
            "plain": {
                "size": 32,
                "random_resized_crop": {"p": 1.0, "scale": [0.6, 1.0], "ratio": [0.85, 1.18]},
                "horizontal_flip": {"p": 0.5},
            },
        },
        "batch_size": 256,
        "epochs": 40,
        "warmup": 0.1,
        "clip_norm": 0.0,
    }
)
"""Default settings of the size `small`, for small photographs on a laptop, where a recipe's `small` does not set them.
The backbone and the optimizer are those that offer themselves by `small_options`."""


@dataclass(frozen=True)
class Method:
    """Recipe with the overrides of params.yaml.

    Attributes:
        recipe: Parts of the recipe.
        pretrain: Section `pretrain`, with values instead of the word `recipe`.
        views: Kind of view -> policy of the recipe in the chosen size. `resolve_views` merges in the views of
            params.yaml.
    """

    recipe: Recipe
    pretrain: PretrainConfig
    views: Mapping[str, Policy]


def method_of(registry: Registry, section: PretrainSection) -> Method:
    """Return the method of params.yaml: its recipe in the chosen size, with all overrides merged in.

    An override with another `name` replaces the part; otherwise it changes options of the recipe's part.

    Raises:
        ConfigError: The recipe is unknown or malformed, an override is for a part that the recipe does not have, or a
            value is left to a recipe that does not set it.
    """
    parts, settings = said_by(registry, section.recipe, section.recipe_size)
    if (named := named_weights(registry, section.init)) and section.backbone == RECIPE:
        settings = settings.model_copy(update={"backbone": Choice(name=named)})
    own = Overrides(pretext_task=section.pretext_task, loss=section.loss, negatives=section.negatives)
    parts = _merged(parts, own, "pretrain", f"recipe '{section.recipe}'")
    recipe = Recipe.model_validate({"name": section.recipe, **parts})
    return Method(recipe, _decided(section, settings), settings.views)


def said_by(registry: Registry, name: str, size: Size) -> tuple[dict[str, Choice], Settings]:
    """Return a recipe's parts, by kind, and its settings in one of its sizes, without the overrides of params.yaml.

    Raises:
        ConfigError: The recipe is unknown or malformed.
    """
    where = f"recipe '{name}'"
    try:
        registered = Registered.model_validate(registry.build("recipe", Choice(name=name)))
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(explain(error, Registered))) from error
    if size == "paper":
        return registered.parts(), _settings(registered)
    parts = _merged(registered.parts(), registered.small, f"{where}: small")
    return parts, _settings(registered.small).over(SMALL.model_copy(update=_offered(registry)))


def resolve(registry: Registry, section: PretrainSection) -> Recipe:
    """Return only the parts of the method of params.yaml; see `method_of`."""
    return method_of(registry, section).recipe


def resolve_views(method: Method, written: Mapping[str, Policy | str] | str) -> dict[str, Policy]:
    """Return the policies of a run: those of params.yaml, and the recipe's where params.yaml leaves them to it.

    Args:
        method: Method, with the views of its recipe.
        written: Value of `augment.views`: kind -> policy or the word `recipe`, or that word alone.

    Raises:
        ConfigError: The recipe has no views, or none of that kind.
    """
    where = f"recipe '{method.recipe.name}' in the size '{method.pretrain.recipe_size}'"
    if isinstance(written, str):
        if not method.views:
            raise ConfigError(f"augment.views: {where} has no views. Write them out.")
        return dict(method.views)
    for kind, policy in written.items():
        if isinstance(policy, str) and kind not in method.views:
            known = ", ".join(method.views) or "none"
            raise ConfigError(
                f"augment.views.{kind}: {where} has no views of this kind (it has: {known}). Write the policy out."
            )
    return {kind: method.views[kind] if isinstance(policy, str) else policy for kind, policy in written.items()}


def suited(
    views: Mapping[str, Policy], written: Mapping[str, Policy | str] | str, images: ImageSpec
) -> dict[str, Policy]:
    """Return policies that suit the images: if their colours are unknown, a recipe's operations on colours are removed.

    Args:
        views: Kind of view -> policy, as `resolve_views` returns them, with operations of plugins built.
        written: Value of `augment.views`. Operations on colours that it contains are kept, and refused later.
        images: Channels and type of the images.
    """
    if images.rgb is not None:
        return dict(views)
    left = {kind for kind in views if isinstance(written, str) or written[kind] == RECIPE}
    return {kind: policy.without_colours() if kind in left else policy for kind, policy in views.items()}


def _offered(registry: Registry) -> dict[str, Choice | Optimizer | None]:
    """Return the first backbone and optimizer, by name, that offer themselves to recipes in the size `small`.

    The value is None if none of a kind offers itself.
    """
    models: dict[str, type[Choice | Optimizer]] = {"backbone": Choice, "optimizer": Optimizer}
    found: dict[str, Choice | Optimizer | None] = dict.fromkeys(models)
    for entry in registry.entries():
        options = getattr(entry.factory, "small_options", None)
        if entry.kind in models and found[entry.kind] is None and options is not None:
            found[entry.kind] = models[entry.kind].model_validate({"name": entry.name, **options})
    return found


def _settings(registered: Settings) -> Settings:
    """Return only the settings of a registered recipe."""
    return Settings(**{name: getattr(registered, name) for name in Settings.model_fields})


def _decided(section: PretrainSection, settings: Settings) -> PretrainConfig:
    """Return a section with the recipe's values in place of the word `recipe`.

    Raises:
        ConfigError: The recipe does not set a value, or values are incompatible.
    """
    values = {name: getattr(section, name) for name in PretrainConfig.model_fields}
    values["positives"] = section.positives or settings.positives
    for name, value in values.items():
        if isinstance(value, str) and value == RECIPE and name in Settings.model_fields:
            values[name] = getattr(settings, name)
            if values[name] is None:
                raise ConfigError(
                    f"pretrain.{name}: recipe '{section.recipe}' has no value for this key in the size "
                    f"'{section.recipe_size}'. Set a value."
                )
    try:
        return PretrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("; ".join(f"pretrain: {line}" for line in explain(error, PretrainConfig))) from error


def _merged(parts: Mapping[str, Choice], overrides: Overrides, key: str, owner: str = "it") -> dict[str, Choice]:
    merged = dict(parts)
    for part in Overrides.model_fields:
        base, override = parts.get(part), getattr(overrides, part)
        if not override:
            continue
        if base is None and "name" not in override:
            raise ConfigError(f"{key}.{part}: {owner} has none. Name one, or leave it {{}}.")
        kept = base.model_dump() if base and override.get("name", base.name) == base.name else {}
        merged[part] = Choice.model_validate({**kept, **override})
    return merged
