"""Everything that can be chosen by name in params.yaml, who brought it, and which options it takes.

The registry asks plugins through pluggy's hooks: built-ins from a list of modules, everybody else from the entry-point
group `ssl_pipeline`. A factory's signature is the schema of its options.
"""

import importlib
import importlib.metadata as metadata
import inspect
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import pluggy
from pydantic import BaseModel, ValidationError, create_model

from ssl_pipeline import hookspecs
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.hookspecs import GROUP
from ssl_pipeline.types import Factory
from ssl_pipeline.validation import Checked, explain

__all__ = ["KINDS", "Entry", "Failure", "Registry"]

KINDS = {
    "pretext_task": "register_pretext_tasks",
    "loss": "register_losses",
    "negatives": "register_negatives",
    "backbone": "register_backbones",
    "recipe": "register_recipes",
}
"""Kind of thing -> the hook that adds it."""

INJECTED = {"encoder", "loss", "negatives", "model", "size", "pretrained"}
"""Parameters that the pipeline fills in, so that they are no options."""


@dataclass(frozen=True)
class Entry:
    """One registered factory and where it came from."""

    kind: str
    name: str
    factory: Factory
    distribution: str
    version: str


@dataclass(frozen=True)
class Failure:
    """A plugin that could not be loaded."""

    distribution: str
    entry_point: str
    reason: str

    def __str__(self) -> str:
        return f"plugin '{self.entry_point}' of {self.distribution}: {self.reason}"


class Registry:
    """Names -> factories. Make one, `load` it, `build` from it; there is no global one."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._entries: dict[tuple[str, str], Entry] = {}
        self.failures: list[Failure] = []

    def load(self, builtin: Iterable[str]) -> None:
        """Load built-in modules by name, then all installed plugins.

        An installed plugin that cannot be loaded is noted in `failures`; it does not take the others down.

        Raises:
            ConfigError: Two plugins register the same name.
        """
        home = metadata.distribution("ssl-pipeline")
        for name in builtin:
            self.add(importlib.import_module(name), home.name, home.version)
        for point in sorted(metadata.entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
            distribution, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "unknown")
            try:
                self.add(point.load(), distribution, version)
            except ConfigError:
                raise
            except Exception as error:  # whatever a stranger's module raises at import is its failure, not ours
                self.failures.append(Failure(distribution, point.name, f"{type(error).__name__}: {error}"))

    def add(self, plugin: object, distribution: str, version: str) -> None:
        """Register one plugin (a module, usually) and call its hooks.

        Raises:
            ConfigError: It registers a name that is taken.
            pluggy.PluginValidationError: It implements a hook that does not exist, or with other parameters.
        """
        self._manager.register(plugin)
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError:
            self._manager.unregister(plugin)
            raise
        for kind, hook in KINDS.items():
            for implementation in getattr(self._manager.hook, hook).get_hookimpls():
                if implementation.plugin is plugin:
                    self._call(implementation.function, kind, distribution, version)

    def _call(self, hook: Any, kind: str, distribution: str, version: str) -> None:
        def register(name: str, factory: Factory) -> None:
            taken = self._entries.get((kind, name))
            if taken:
                raise ConfigError(
                    f"{kind} '{name}' is registered twice: by {taken.distribution} {taken.version} and by "
                    f"{distribution} {version}. Uninstall one of them, or ask its author for another name."
                )
            self._entries[kind, name] = Entry(kind, name, factory, distribution, version)

        hook(register)

    def entries(self) -> list[Entry]:
        """All entries, by kind and name."""
        return sorted(self._entries.values(), key=lambda entry: (list(KINDS).index(entry.kind), entry.name))

    def names(self, kind: str) -> list[str]:
        """The registered names of a kind."""
        return [entry.name for entry in self.entries() if entry.kind == kind]

    def find(self, kind: str, name: str) -> Entry:
        """The entry for a name; `torchvision/resnet18` is served by the family `torchvision/`.

        Raises:
            ConfigError: No such name; the message lists the known ones, the nearest, and plugins that failed to load.
        """
        family = name.partition("/")[0] + "/"
        entry = self._entries.get((kind, name)) or ("/" in name and self._entries.get((kind, family)))
        if entry:
            return entry
        known = self.names(kind)
        near = get_close_matches(name, known, n=1)
        lines = [f"pretrain.{kind}: unknown name '{name}'." + (f" Did you mean '{near[0]}'?" if near else "")]
        lines.append(f"Known: {', '.join(known)}.")
        lines += [
            f"This plugin failed to load, and may be the one that is meant: {failure}" for failure in self.failures
        ]
        raise ConfigError("\n".join(lines))

    def build(self, kind: str, choice: Choice, **injected: Any) -> Any:
        """Build what was chosen.

        Args:
            kind: A key of `KINDS`.
            choice: Name and options, as in params.yaml.
            **injected: What the pipeline provides, given to the factory where its signature names it.

        Raises:
            ConfigError: Unknown name or option, wrong type, or a value that the factory refuses (ValueError).
        """
        entry = self.find(kind, choice.name)
        if entry.name.endswith("/"):
            injected["model"] = choice.name.removeprefix(entry.name)
        options = self.validate(entry, choice)
        accepted = inspect.signature(entry.factory).parameters
        try:
            return entry.factory(**options, **{name: value for name, value in injected.items() if name in accepted})
        except ValueError as error:
            raise ConfigError(f"pretrain.{kind} {choice.name}: {error}") from error

    def validate(self, entry: Entry, choice: Choice) -> dict[str, Any]:
        """Options with their types coerced, and nothing that the signature does not name."""
        model = schema(entry.factory)
        try:
            options = model.model_validate(choice.options)
        except ValidationError as error:
            lines = [f"pretrain.{entry.kind}.{line}" for line in explain(error, model)]
            raise ConfigError("\n".join(f"{line} ({entry.kind} '{choice.name}')" for line in lines)) from error
        return {name: getattr(options, name) for name in options.model_fields_set}


def schema(factory: Factory) -> type[BaseModel]:
    """The pydantic model of a factory's options, made from its signature."""
    function = factory.__init__ if inspect.isclass(factory) else factory
    hints = typing.get_type_hints(getattr(function, "func", function), include_extras=True)
    fields: dict[str, Any] = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if name in INJECTED or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[name] = (hints.get(name, Any), default)
    return create_model("Options", __base__=Checked, **fields)
