"""The definition of views: the operations of a policy, in the order in which they are applied, with their ranges.

Operations of plugins are listed among the built-in ones, under the names by which they are registered. They are applied
after the built-in ones, in the order of their names.

A kind of view (`global`, `local`, `plain`, ...) is a policy and a size. The section `augment.views` of params.yaml is a
mapping from kinds to policies. This module does not import torch, because it is part of the schema of params.yaml.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import (
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from pydantic_core import InitErrorDetails

from ssl_pipeline.data.image_spec import ImageSpec
from ssl_pipeline.errors import ConfigError, PipelineError
from ssl_pipeline.products import read_product
from ssl_pipeline.remedies import remake
from ssl_pipeline.validation import Checked, explain, hint

if TYPE_CHECKING:
    from ssl_pipeline.augment.view_operation import ViewOperation

__all__ = ["LEAST_SIZE", "Policies", "Policy", "check_colours", "read_policies"]

LEAST_SIZE = 4
"""Smallest side of a view, in px."""

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=1.0)]


class Operation(Checked):
    """One operation. `p` is the probability that a view receives it; 0 turns it off, and so does leaving it out."""

    p: Probability


def _ordered(name: str, low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"{name} must be [smallest, largest], got [{low}, {high}]")


class RandomResizedCrop(Operation):
    """A crop of random area and aspect ratio, resized to the view's size. When it is off, the whole image is.

    Sources: Szegedy et al. 2015 (1409.4842); its use in contrastive learning: SimCLR (2002.05709), section 3.
    """

    scale: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]]
    ratio: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ordered("scale", *self.scale)
        _ordered("ratio", *self.ratio)
        return self


class Rotation(Operation):
    """A rotation around the centre by an angle that is uniform in ±degrees."""

    degrees: Annotated[float, Field(ge=0, le=180)]


class ColorJitter(Operation):
    """Changes of brightness, contrast and saturation, by factors uniform in 1 ± strength, and of hue, by ± turns."""

    brightness: Strength
    contrast: Strength
    saturation: Strength
    hue: Annotated[float, Field(ge=0, le=0.5)]


class GaussianBlur(Operation):
    """A Gaussian blur whose sigma, in pixels of the view, is uniform in the range."""

    sigma: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ordered("sigma", *self.sigma)
        return self


class Solarize(Operation):
    """An inversion of all values at or above the threshold, in [0, 1]."""

    threshold: Strength


class GaussianNoise(Operation):
    """Normal noise; its std is in units of the full range, where 1.0 is from black to white."""

    std: Annotated[float, Field(ge=0, le=1)]


class PluginOperation(Operation):
    """An operation that a plugin registers: `p` and its own options, which are checked when it is built."""

    model_config = ConfigDict(extra="allow")

    _built: "ViewOperation | None" = PrivateAttr(None)

    @property
    def options(self) -> dict[str, Any]:
        """All options except `p`."""
        return dict(self.model_extra or {})

    @property
    def built(self) -> "ViewOperation":
        """The module that computes the operation; `ssl_pipeline.operations` builds it."""
        assert self._built is not None, "operations of plugins have to be built before their policy makes views"
        return self._built

    def with_built(self, options: Mapping[str, Any], operation: "ViewOperation") -> Self:
        """Return the same operation with all of its options, and with the module that computes it."""
        made = type(self)(p=self.p, **options)
        made._built = operation
        return made


class Policy(Checked):
    """One kind of view: its size and its operations, in the order of application.

    A list of policies assigns one to each view of an image: the first view has the first policy of the list, and later
    views have those in `further`. BYOL (2006.07733, appendix B) has two.

    Examples:
        >>> policy = Policy.model_validate({"size": 16, "horizontal_flip": {"p": 0.5}, "grayscale": {"p": 0.0}})
        >>> policy.active()
        {'horizontal_flip'}
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, PluginOperation | None]

    size: Annotated[int, Field(ge=LEAST_SIZE, le=1024)]
    random_resized_crop: RandomResizedCrop | None = None
    horizontal_flip: Operation | None = None
    vertical_flip: Operation | None = None
    rotation: Rotation | None = None
    color_jitter: ColorJitter | None = None
    grayscale: Operation | None = None
    gaussian_blur: GaussianBlur | None = None
    solarize: Solarize | None = None
    gaussian_noise: GaussianNoise | None = None
    further: tuple["Policy", ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _a_list_has_one_policy_for_each_view(cls, value: Any) -> Any:
        if isinstance(value, list):
            if not value or not all(isinstance(policy, dict) for policy in value):
                raise ValueError("must be a policy, or a list of policies, one for each view")
            value = {**value[0], "further": value[1:]}
        if isinstance(value, dict):
            cls._refuse_what_is_no_operation(value)
        return value

    @classmethod
    def _refuse_what_is_no_operation(cls, values: dict[str, Any]) -> None:
        """Refuse unknown keys that cannot be operations of plugins; whether plugins register the rest is checked later.

        A key without `p` whose name is close to that of a built-in key is taken for a misspelling.
        """
        unknown = [
            InitErrorDetails(type="extra_forbidden", loc=(key,), input=value)
            for key, value in values.items()
            if key not in cls.model_fields
            and not isinstance(value, PluginOperation)
            and not (isinstance(value, dict) and ("p" in value or not hint(str(key), cls.model_fields, 0.8)))
        ]
        if unknown:
            raise ValidationError.from_exception_data(cls.__name__, unknown)

    @model_validator(mode="after")
    def _views_of_one_kind_have_one_size(self) -> Self:
        for policy in self.further:
            if policy.size != self.size:
                raise ValueError(f"all views of a kind have one size, got {self.size} and {policy.size} px")
            if policy.further:
                raise ValueError("a policy in a list of policies must not be a list")
        return self

    @model_serializer(mode="wrap")
    def _written_as_it_is_read(self, write: SerializerFunctionWrapHandler) -> Any:
        written = write(self)
        if isinstance(written, list):  # pydantic calls this function once more for a type that refers to itself
            return written
        further = written.pop("further", ())
        return [written, *further] if further else written

    @property
    def each(self) -> tuple["Policy", ...]:
        """The policies of the first view, the second view, ..., as many as there are."""
        return (self.model_copy(update={"further": ()}), *self.further)

    def of_view(self, number: int) -> "Policy":
        """Return the policy of the view with this number, from 0; if there are fewer policies, they repeat."""
        return self.each[number % len(self.each)]

    def active(self) -> set[str]:
        """Return the names of the operations that some view receives (p > 0)."""
        own = {name for name, value in self if isinstance(value, Operation) and value.p > 0}
        return own.union(*(policy.active() for policy in self.further))

    @property
    def of_plugins(self) -> dict[str, PluginOperation]:
        """Operations of plugins on the first view, by name, in the order in which they are applied."""
        return {name: found for name, found in sorted((self.model_extra or {}).items()) if found is not None}

    def on_colours(self) -> list[str]:
        """Return the names of the operations that some view receives and that need red, green and blue."""
        jitter = self.color_jitter
        strengths = {} if jitter is None or not jitter.p else {"saturation": jitter.saturation, "hue": jitter.hue}
        names = [f"color_jitter.{name}" for name, strength in strengths.items() if strength]
        names += ["grayscale"] if self.grayscale is not None and self.grayscale.p else []
        names += [name for name, found in self.of_plugins.items() if found.p and "rgb" in found.built.needs]
        return list(dict.fromkeys([*names, *(name for policy in self.further for name in policy.on_colours())]))

    def without_colours(self) -> "Policy":
        """Return the same policy without the operations that need red, green and blue."""
        jitter = self.color_jitter and self.color_jitter.model_copy(update={"saturation": 0.0, "hue": 0.0})
        further = tuple(policy.without_colours() for policy in self.further)
        colours = [(name, found) for name, found in self.of_plugins.items() if "rgb" in found.built.needs]
        off = {name: found.model_copy(update={"p": 0.0}) for name, found in colours}
        return self.model_copy(update={**off, "color_jitter": jitter, "grayscale": None, "further": further})

    def at(self, size: int) -> "Policy":
        """Return the policy of the same views at another size in px; lengths in pixels of the view scale with it."""
        blur, scale = self.gaussian_blur, size / self.size
        if blur:
            blur = blur.model_copy(update={"sigma": (scale * blur.sigma[0], scale * blur.sigma[1])})
        further = tuple(policy.at(size) for policy in self.further)
        return self.model_copy(update={"size": size, "gaussian_blur": blur, "further": further})

    def pruned(self) -> "Policy":
        """Return the same policy, with None for each operation that no view receives."""
        unused = {name: None for name, value in self if isinstance(value, Operation) and value.p == 0}
        return self.model_copy(update=unused)


class Policies(Checked):
    """The content of policy.json: kinds of views, and the seed for views that stages draw or measure."""

    seed: int
    views: dict[str, Policy]


def check_colours(views: Mapping[str, Policy], spec: ImageSpec) -> None:
    """Refuse operations that need red, green and blue if images have none, or if it is not known which bands these are.

    Raises:
        ConfigError: A kind of view has such operations; the message has a line for each such kind.
    """
    lines = [
        f"augment.views.{kind}: {', '.join(names)}: these images ({spec}) have no red, green and blue bands that are "
        "known. Leave these operations out, or name the bands: ingest.pixels: {name: as_is, rgb: [...]}."
        for kind, policy in views.items()
        if (names := policy.on_colours())
    ]
    if lines and spec.rgb is None:
        raise ConfigError("\n".join(lines))


def read_policies(path: Path) -> Policies:
    """Read policy.json.

    Raises:
        PipelineError: The file is missing, damaged, or of another version.
    """
    try:
        return Policies.model_validate(read_product(path, "augment"))
    except ValidationError as error:
        reasons = "; ".join(explain(error, Policies))
        raise PipelineError(
            f"{path} is damaged, or has a different format version ({reasons}): {remake('augment')}."
        ) from error
