"""Schema of a factory's options, derived from its signature, so that no option is declared twice."""

import inspect
import typing
from collections.abc import Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, create_model

from ssl_pipeline.errors import ConfigError
from ssl_pipeline.terminal import shown
from ssl_pipeline.validation import Checked

if TYPE_CHECKING:  # imports torch, which a built-in source does without
    from ssl_pipeline.types import Factory

__all__ = ["injected", "schema", "with_defaults"]

_INJECTED: Mapping[str, frozenset[str]] = {
    "pretext_task": frozenset({"encoder", "loss", "negatives", "size"}),
    "backbone": frozenset({"size", "pretrained", "in_channels"}),
    "optimizer": frozenset({"groups", "learning_rate"}),
}
"""Kind of plugin -> parameters that the pipeline fills in and that are therefore not options; other kinds have none."""


def injected(kind: str, family: bool = False) -> frozenset[str]:
    """Return the parameters that are not options: those that the pipeline fills in, and `model` for a family."""
    return _INJECTED.get(kind, frozenset()) | ({"model"} if family else set())


def schema(factory: "Factory", kind: str, family: bool = False) -> type[BaseModel]:
    """Return the pydantic model of a factory's options, made from its signature.

    Args:
        factory: Factory of the plugin.
        kind: Kind of plugin, which determines the parameters that the pipeline fills in.
        family: Whether the factory serves a family of names, and therefore takes a `model`.

    Raises:
        ConfigError: The signature has types that cannot be resolved, or that pydantic does not know.
    """
    function = factory.__init__ if inspect.isclass(factory) else factory
    function = inspect.unwrap(getattr(function, "func", function))
    try:
        parameters = {
            name: parameter
            for name, parameter in inspect.signature(factory).parameters.items()
            if name not in injected(kind, family)
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }
        # types of injected parameters need not exist at run time: authors may import them for type checkers only
        written = getattr(function, "__annotations__", {})
        options = SimpleNamespace(__annotations__={name: written[name] for name in parameters if name in written})
        hints = typing.get_type_hints(options, getattr(function, "__globals__", {}), include_extras=True)
        fields: dict[str, Any] = {
            name: (hints.get(name, Any), ... if parameter.default is parameter.empty else parameter.default)
            for name, parameter in parameters.items()
        }
        return create_model("Options", __base__=Checked, **fields)
    except Exception as error:  # evaluating a plugin's annotations may raise anything
        raise ConfigError(
            f"the options cannot be read from its signature ({shown(f'{type(error).__name__}: {error}', 300)}). Its "
            "author must use types that pydantic knows, such as float, and import them at run time as well."
        ) from error


def with_defaults(factory: "Factory", kind: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options of a factory: the values passed in `options`, and defaults for the others.

    Raises:
        ConfigError: The signature cannot be read; see `schema`.
    """
    fields = schema(factory, kind).model_fields
    return {name: field.default for name, field in fields.items() if not field.is_required()} | dict(options)
