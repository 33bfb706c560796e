"""What a view is: the operations of a policy, in the order in which they are applied, with their ranges.

Operations of plugins stand beside the built-in ones, under the names by which they are registered. They are applied
after the built-in ones, in the order of their names.

A kind of view (`global`, `local`, `plain`, ...) is a policy and a size. The section `augment.views` of params.yaml is a
mapping from kinds to policies. This module imports no torch: it is part of the schema of params.yaml.
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
"""The least side of a view, px."""

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Strength = Annotated[float, Field(ge=0.0, le=1.0)]


class Operation(Checked):
    """One operation; `p` is the probability that a view receives it. 0 turns it off, and so does leaving it out."""

    p: Probability


def _ordered(name: str, low: float, high: float) -> None:
    if low > high:
        raise ValueError(f"{name} must be [smallest, largest], got [{low}, {high}]")


class RandomResizedCrop(Operation):
    """A crop of random area and aspect ratio, resized to the view's size. Off: the whole image is resized.

    Source: Szegedy et al. 2015 (1409.4842); its use for contrast: SimCLR (2002.05709), section 3.
    """

    scale: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]]
    ratio: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ordered("scale", *self.scale)
        _ordered("ratio", *self.ratio)
        return self


class Rotation(Operation):
    """A rotation about the centre by an angle uniform in ±degrees."""

    degrees: Annotated[float, Field(ge=0, le=180)]


class ColorJitter(Operation):
    """Brightness, contrast, saturation: factors uniform in 1 ± strength; hue: a shift in turns, in ± strength."""

    brightness: Strength
    contrast: Strength
    saturation: Strength
    hue: Annotated[float, Field(ge=0, le=0.5)]


class GaussianBlur(Operation):
    """A Gaussian blur; sigma in pixels of the view, uniform in the range."""

    sigma: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ordered("sigma", *self.sigma)
        return self


class Solarize(Operation):
    """Invert every value at or above the threshold (0 to 1)."""

    threshold: Strength


class GaussianNoise(Operation):
    """Add normal noise; std in units of the full range (1.0 = black to white)."""

    std: Annotated[float, Field(ge=0, le=1)]


class PluginOperation(Operation):
    """An operation that a plugin registers: `p` and its own options, which are checked when it is built."""

    model_config = ConfigDict(extra="allow")

    _built: "ViewOperation | None" = PrivateAttr(None)

    @property
    def options(self) -> dict[str, Any]:
        """All but `p`."""
        return dict(self.model_extra or {})

    @property
    def built(self) -> "ViewOperation":
        """What computes it; `ssl_pipeline.operations` builds it."""
        assert self._built is not None, "a policy with operations of plugins makes views once these are built"
        return self._built

    def with_built(self, options: Mapping[str, Any], operation: "ViewOperation") -> Self:
        """Return the same operation with all of its options, and with what computes it."""
        made = type(self)(p=self.p, **options)
        made._built = operation
        return made


class Policy(Checked):
    """One kind of view: its size and its operations, in the order of application.

    A list of policies gives the views of an image one each: the first has that of the list's head, the second and all
    later ones have those in `further`. BYOL (2006.07733, appendix B) has two.

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
        """Refuse unknown keys that are no operations of plugins; whether one registers these is asked later.

        What has no `p` and is nearly called as a built-in key is taken for that key with a slip of the pen.
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
        if isinstance(written, list):  # pydantic writes what refers to itself by this function once more
            return written
        further = written.pop("further", ())
        return [written, *further] if further else written

    @property
    def each(self) -> tuple["Policy", ...]:
        """The policies of the first view, of the second one, ...: as many as are told apart."""
        return (self.model_copy(update={"further": ()}), *self.further)

    def of_view(self, number: int) -> "Policy":
        """Return the policy of an image's view with that number, from 0; fewer policies start anew."""
        return self.each[number % len(self.each)]

    def active(self) -> set[str]:
        """Return names of the operations that some view receives (p > 0)."""
        own = {name for name, value in self if isinstance(value, Operation) and value.p > 0}
        return own.union(*(policy.active() for policy in self.further))

    @property
    def of_plugins(self) -> dict[str, PluginOperation]:
        """Operations of the first view that plugins register, by name, in the order in which they are applied."""
        return {name: found for name, found in sorted((self.model_extra or {}).items()) if found is not None}

    def on_colours(self) -> list[str]:
        """Return names of the operations that some view receives and that need red, green and blue."""
        jitter = self.color_jitter
        strengths = {} if jitter is None or not jitter.p else {"saturation": jitter.saturation, "hue": jitter.hue}
        names = [f"color_jitter.{name}" for name, strength in strengths.items() if strength]
        names += ["grayscale"] if self.grayscale is not None and self.grayscale.p else []
        names += [name for name, found in self.of_plugins.items() if found.p and "rgb" in found.built.needs]
        return list(dict.fromkeys([*names, *(name for policy in self.further for name in policy.on_colours())]))

    def without_colours(self) -> "Policy":
        """Return the same policy, but for the operations that need red, green and blue."""
        jitter = self.color_jitter and self.color_jitter.model_copy(update={"saturation": 0.0, "hue": 0.0})
        further = tuple(policy.without_colours() for policy in self.further)
        colours = [(name, found) for name, found in self.of_plugins.items() if "rgb" in found.built.needs]
        off = {name: found.model_copy(update={"p": 0.0}) for name, found in colours}
        return self.model_copy(update={**off, "color_jitter": jitter, "grayscale": None, "further": further})

    def at(self, size: int) -> "Policy":
        """Return the policy of the same views at another size in px; lengths in pixels of the view go with it."""
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
    """policy.json: the kinds of views, and the seed of those that stages draw or measure, apart from training's own."""

    seed: int
    views: dict[str, Policy]


def check_colours(views: Mapping[str, Policy], spec: ImageSpec) -> None:
    """Refuse operations that need red, green and blue for images that have none, or nobody knows where.

    Raises:
        ConfigError: A line for each kind of view that has such operations.
    """
    lines = [
        f"augment.views.{kind}: {', '.join(names)}: these images ({spec}) have no red, green and blue that is known. "
        "Leave these out, or name the three bands: ingest.pixels: {name: as_is, rgb: [...]}."
        for kind, policy in views.items()
        if (names := policy.on_colours())
    ]
    if lines and spec.rgb is None:
        raise ConfigError("\n".join(lines))


def read_policies(path: Path) -> Policies:
    """Read policy.json.

    Raises:
        PipelineError: It is missing, damaged, or of another version.
    """
    try:
        return Policies.model_validate(read_product(path, "augment"))
    except ValidationError as error:
        reasons = "; ".join(explain(error, Policies))
        raise PipelineError(
            f"{path} is damaged, or has a different format version ({reasons}): {remake('augment')}."
        ) from error
