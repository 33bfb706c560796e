"""Registry of everything that params.yaml can choose by name, with its origin and its options.

The registry calls the pluggy hooks of built-in modules, installed plugins, and the project's own files. A factory's
signature is the schema of its options.
"""

import importlib
import importlib.metadata as metadata
import inspect
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy
from pydantic import BaseModel, ValidationError

from ssl_pipeline import hookspecs
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import Choice
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.hookspecs import GROUP
from ssl_pipeline.moved_keys import refuse_former
from ssl_pipeline.options import injected, schema
from ssl_pipeline.plugin_sources import in_folder, installed
from ssl_pipeline.terminal import brief, shown
from ssl_pipeline.validation import explain

if TYPE_CHECKING:  # imports torch, which a built-in source does without
    from ssl_pipeline.types import Factory, Register

__all__ = ["KINDS", "Entry", "Failure", "Registry"]

KINDS = {
    "source": "register_sources",
    "pretext_task": "register_pretext_tasks",
    "loss": "register_losses",
    "negatives": "register_negatives",
    "backbone": "register_backbones",
    "recipe": "register_recipes",
    "operation": "register_operations",
    "optimizer": "register_optimizers",
}
"""Kind of plugin -> hook that registers it."""


@dataclass(frozen=True)
class Entry:
    """Registered factory, with the module that registered it and the distribution of that module."""

    kind: str
    name: str
    factory: "Factory"
    module: str
    distribution: str
    version: str

    @property
    def family(self) -> bool:
        """Whether the factory serves all names that begin with its own name."""
        return self.name.endswith("/")

    def schema(self) -> type[BaseModel]:
        """Return the pydantic model of the options; see `ssl_pipeline.options.schema`."""
        return schema(self.factory, self.kind, self.family)


@dataclass(frozen=True)
class Failure:
    """Plugin that could not be loaded."""

    distribution: str
    entry_point: str
    reason: str

    def __str__(self) -> str:
        return f"plugin '{self.entry_point}' of {self.distribution}: {self.reason}"


class Registry:
    """Mapping of names to factories. Create one, load plugins, and `build` from it; there is no global registry."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._entries: dict[tuple[str, str], Entry] = {}
        self._conflicts: dict[tuple[str, str], str] = {}
        self.failures: list[Failure] = []
        self.remarks: list[str] = []

    def load_builtin(self, modules: Iterable[str]) -> None:
        """Load built-in modules, by their full names."""
        home = metadata.metadata("ssl-pipeline")  # read once: each access parses the metadata again
        for name in modules:
            self.add(importlib.import_module(name), home["Name"], home["Version"])

    def load_others(self, folder: Path) -> None:
        """Load all installed plugins, then those in a folder of the project, which need not exist.

        A plugin that cannot be loaded is recorded in `failures`. It does not affect other plugins, whatever it does at
        import: global states that it changes are restored, and recorded in `remarks`.
        """
        from ssl_pipeline.isolation import isolated

        for source in [*installed(), *in_folder(folder)]:
            with isolated() as visit:
                try:
                    self.add(source.load(), source.distribution, source.version)
                except BaseException as error:  # a plugin may raise anything at import
                    if visit.interrupted:
                        raise
                    self.failures.append(Failure(source.distribution, source.name, _reason(error)))
            self.remarks += [
                f"plugin '{source.name}' of {source.distribution} changed {state} at import; this was undone"
                for state in visit.changed
            ]

    def add(self, plugin: object, distribution: str, version: str) -> None:
        """Register one plugin (usually a module) and call its hooks. If a hook fails, nothing is registered.

        Raises:
            TypeError: The plugin registers an invalid name, something that cannot be called, or nothing at all.
            pluggy.PluginValidationError: The plugin implements an unknown hook, or one with other parameters.
        """
        self._manager.register(plugin)
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError:
            self._manager.unregister(plugin)
            raise
        entries: list[Entry] = []
        module = getattr(plugin, "__name__", type(plugin).__module__)
        for kind, hook in KINDS.items():
            for implementation in getattr(self._manager.hook, hook).get_hookimpls():
                if implementation.plugin is plugin:
                    implementation.function(_register(entries, kind, module, distribution, version))
        if not entries:
            raise TypeError("it registers nothing: decorate its hooks with @ssl_pipeline.hookimpl")
        for entry in entries:
            taken = self._entries.setdefault((entry.kind, entry.name), entry)
            if taken is not entry:
                conflict = (
                    f"{entry.kind} '{entry.name}' is registered twice: by {taken.distribution} {taken.version} and by "
                    f"{distribution} {version}. Remove or rename one of them."
                )
                self._conflicts[entry.kind, entry.name] = conflict
                self.remarks.append(conflict)

    def entries(self) -> list[Entry]:
        """Return all entries, sorted by kind and name."""
        return sorted(self._entries.values(), key=lambda entry: (list(KINDS).index(entry.kind), entry.name))

    def names(self, kind: str) -> list[str]:
        """Return the registered names of a kind."""
        return [entry.name for entry in self.entries() if entry.kind == kind]

    def find(self, kind: str, name: str, key: str = "", others: Sequence[str] = ()) -> Entry:
        """Return the entry for a name; the family `torchvision/` serves `torchvision/resnet18`.

        Args:
            kind: Kind of plugin, a key of `KINDS`.
            name: Name, as in params.yaml.
            key: Key of the choice in params.yaml, for messages; "" for `pretrain.<kind>`.
            others: Further valid names that need no plugin, for the message.

        Raises:
            ConfigError: The name is unknown, or two plugins register it. The message for an unknown name lists the
                known names, the nearest one, and plugins that failed to load.
        """
        if (kind, name) in self._conflicts:
            raise ConfigError(self._conflicts[kind, name])
        family = name.partition("/")[0] + "/"
        entry = self._entries.get((kind, name)) or ("/" in name and self._entries.get((kind, family)))
        if entry:
            return entry
        refuse_former((one.factory for one in self.entries() if one.kind == kind), {name}, key or f"pretrain.{kind}")
        near = self._nearest(kind, name, known := [*others, *self.names(kind)])
        hint = " Did you mean " + " or ".join(f"'{other}'" for other in near) + "?" if near else ""
        lines = [f"{key or f'pretrain.{kind}'}: unknown name '{shown(name, 60)}'.{hint}", f"Known: {', '.join(known)}."]
        lines += [f"This plugin failed to load and may provide it: {failure}" for failure in self.failures]
        raise ConfigError("\n".join(lines))

    def _nearest(self, kind: str, name: str, known: Sequence[str]) -> list[str]:
        """Return likely intended names: members of families with exactly that name, or else the most similar name."""
        families = [entry for entry in self.entries() if entry.kind == kind and entry.family]
        members = {family.name: self._members(family) for family in families}
        if full := [prefix + name for prefix, names in members.items() if name in names]:
            return full
        inside = [prefix + member for prefix, names in members.items() for member in names]
        return get_close_matches(name[:100], [*known, *inside], n=1)

    def _members(self, family: Entry) -> list[str]:
        """Return the names in a family; if a plugin's code fails to list them, add a remark and return none."""
        from ssl_pipeline.isolation import isolated

        with isolated() as visit:
            try:
                return [name for name in getattr(family.factory, "members", list)() if isinstance(name, str)]
            except BaseException as error:  # as at import, a plugin may raise anything
                if visit.interrupted:
                    raise
                reason = f"{type(error).__name__}: {brief(error)}"
        remark = f"{family.kind} '{family.name}' of {family.distribution} cannot list its members ({reason})"
        if remark not in self.remarks:
            self.remarks.append(remark)
        return []

    def build(self, kind: str, choice: Choice, key: str = "", **provided: Any) -> Any:
        """Build the chosen plugin.

        Args:
            kind: Kind of plugin, a key of `KINDS`.
            choice: Name and options, as in params.yaml.
            key: Key of the choice in params.yaml, for messages; "" for `pretrain.<kind>`.
            **provided: Values that the pipeline provides; the factory receives those that its signature names.

        Raises:
            ConfigError: The name or an option is unknown, or the factory refuses a type or value (ValueError).
        """
        key = key or f"pretrain.{kind}"
        entry = self.find(kind, choice.name, key)
        if entry.family:
            provided["model"] = choice.name.removeprefix(entry.name)
        options = self.validate(entry, choice, key)
        accepted = inspect.signature(entry.factory).parameters.keys() & injected(kind, entry.family)
        try:
            return entry.factory(**options, **{name: value for name, value in provided.items() if name in accepted})
        except ValueError as error:
            raise ConfigError(f"{key} {choice.name}: {error}") from error

    def validate(self, entry: Entry, choice: Choice, key: str = "") -> dict[str, Any]:
        """Return the options with their types converted, and refuse options that the signature does not name."""
        key = key or f"pretrain.{entry.kind}"
        try:
            model = entry.schema()
        except ConfigError as error:
            by = f"{entry.kind} '{entry.name}' of {entry.distribution} {entry.version}"
            raise ConfigError(f"{key}: {by}: {error}") from error
        refuse_former([entry.factory], choice.options.keys() - model.model_fields.keys(), key)
        try:
            options = model.model_validate(choice.options)
        except ValidationError as error:
            lines = [f"{key}.{line}" for line in explain(error, model)]
            raise ConfigError("\n".join(f"{line} ({entry.kind} '{choice.name}')" for line in lines)) from error
        return {name: getattr(options, name) for name in options.model_fields_set}


def _register(entries: list[Entry], kind: str, *origin: str) -> "Register":
    """Return the function that a hook is called with."""

    def register(name: str, factory: "Factory") -> None:
        if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+/?", name) or len(name) > 100:
            plain = "up to 100 letters, digits and _ . + -, and end with / for a family"
            raise TypeError(f"it registers a {kind} under the name {shown(repr(name), 60)}; names have {plain}")
        if kind == "operation" and name in Policy.model_fields:
            raise TypeError(f"it registers operation '{name}', which is a key of every policy: choose another name")
        if not callable(factory):
            raise TypeError(f"it registers {kind} '{name}' as {shown(repr(factory), 60)}, which cannot be called")
        entries.append(Entry(kind, name, factory, *origin))

    return register


def _reason(error: BaseException) -> str:
    """Return why a plugin could not be loaded."""
    reason = f"{type(error).__name__}: {shown(str(error), 500)}".removesuffix(": ")
    if isinstance(error, SystemExit):
        return f"it ends Python at import ({reason}): its author must guard the script by `if __name__ == '__main__':`"
    return reason
