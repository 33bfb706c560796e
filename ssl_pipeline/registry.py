"""Everything that can be chosen by name in params.yaml, who brought it, and which options it takes.

The registry asks plugins through pluggy's hooks: built-in modules, installed plugins, and the project's own files. A
factory's signature is the schema of its options.
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
"""Kind of thing -> the hook that adds it."""


@dataclass(frozen=True)
class Entry:
    """One registered factory and where it came from: the module that registered it, and who brought that."""

    kind: str
    name: str
    factory: "Factory"
    module: str
    distribution: str
    version: str

    @property
    def family(self) -> bool:
        """Whether it serves all names that begin with its own."""
        return self.name.endswith("/")

    def schema(self) -> type[BaseModel]:
        """Return the pydantic model of the options; see `schema`."""
        return schema(self.factory, self.kind, self.family)


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
        self._conflicts: dict[tuple[str, str], str] = {}
        self.failures: list[Failure] = []
        self.remarks: list[str] = []

    def load_builtin(self, modules: Iterable[str]) -> None:
        """Load built-in modules, by their full names."""
        home = metadata.metadata("ssl-pipeline")  # read once: a distribution parses it anew for each question
        for name in modules:
            self.add(importlib.import_module(name), home["Name"], home["Version"])

    def load_others(self, folder: Path) -> None:
        """Load all installed plugins, then those in a folder of the project, which need not be there.

        One that cannot be loaded is noted in `failures`; it does not take the others down, whatever it does at import,
        nor does it change what they find: states that all code shares are set back, and that is noted in `remarks`.
        """
        from ssl_pipeline.isolation import isolated

        for source in [*installed(), *in_folder(folder)]:
            with isolated() as visit:
                try:
                    self.add(source.load(), source.distribution, source.version)
                except BaseException as error:  # whatever a stranger's module raises at import is its failure, not ours
                    if visit.interrupted:
                        raise
                    self.failures.append(Failure(source.distribution, source.name, _reason(error)))
            self.remarks += [
                f"plugin '{source.name}' of {source.distribution} changed {state} at import; that was set back"
                for state in visit.changed
            ]

    def add(self, plugin: object, distribution: str, version: str) -> None:
        """Register one plugin (a module, usually) and call its hooks. Where one of them fails, none counts.

        Raises:
            TypeError: It registers what has no plain name or cannot be called, or nothing at all.
            pluggy.PluginValidationError: It implements a hook that does not exist, or with other parameters.
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
        """Return all entries, by kind and name."""
        return sorted(self._entries.values(), key=lambda entry: (list(KINDS).index(entry.kind), entry.name))

    def names(self, kind: str) -> list[str]:
        """Return the registered names of a kind."""
        return [entry.name for entry in self.entries() if entry.kind == kind]

    def find(self, kind: str, name: str, key: str = "", others: Sequence[str] = ()) -> Entry:
        """Return the entry for a name; `torchvision/resnet18` is served by the family `torchvision/`.

        Args:
            kind: A key of `KINDS`.
            name: The name, as in params.yaml.
            key: The choice's key in params.yaml, for messages; by default `pretrain.<kind>`.
            others: Names that may be meant too, and need no plugin.

        Raises:
            ConfigError: No such name; the message lists the known ones, the nearest, and plugins that failed to load.
                Or two plugins register it.
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
        """Return names that may be meant: members of families under that very name, or else the most similar name."""
        families = [entry for entry in self.entries() if entry.kind == kind and entry.family]
        members = {family.name: self._members(family) for family in families}
        if full := [prefix + name for prefix, names in members.items() if name in names]:
            return full
        inside = [prefix + member for prefix, names in members.items() for member in names]
        return get_close_matches(name[:100], [*known, *inside], n=1)

    def _members(self, family: Entry) -> list[str]:
        """Return names in a family; none, and a remark, where a stranger's code fails to list them."""
        from ssl_pipeline.isolation import isolated

        with isolated() as visit:
            try:
                return [name for name in getattr(family.factory, "members", list)() if isinstance(name, str)]
            except BaseException as error:  # as at import: its failure, not ours
                if visit.interrupted:
                    raise
                reason = f"{type(error).__name__}: {brief(error)}"
        remark = f"{family.kind} '{family.name}' of {family.distribution} cannot list its members ({reason})"
        if remark not in self.remarks:
            self.remarks.append(remark)
        return []

    def build(self, kind: str, choice: Choice, key: str = "", **provided: Any) -> Any:
        """Build what was chosen.

        Args:
            kind: A key of `KINDS`.
            choice: Name and options, as in params.yaml.
            key: The choice's key in params.yaml, for messages; by default `pretrain.<kind>`.
            **provided: What the pipeline provides, given to the factory where its signature names it.

        Raises:
            ConfigError: Unknown name or option, wrong type, or a value that the factory refuses (ValueError).
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
        """Return options with their types coerced, and nothing that the signature does not name; see `build`."""
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
    """Return what a hook is called with."""

    def register(name: str, factory: "Factory") -> None:
        if not isinstance(name, str) or not re.fullmatch(r"[\w.+-]+/?", name) or len(name) > 100:
            plain = "letters, digits and _ . + -, at most 100, and / at the end of a family's"
            raise TypeError(f"it registers a {kind} under the name {shown(repr(name), 60)}; names are {plain}")
        if kind == "operation" and name in Policy.model_fields:
            raise TypeError(f"it registers operation '{name}', which is a key of every policy: give it another name")
        if not callable(factory):
            raise TypeError(f"it registers {kind} '{name}' as {shown(repr(factory), 60)}, which cannot be called")
        entries.append(Entry(kind, name, factory, *origin))

    return register


def _reason(error: BaseException) -> str:
    """Say why a plugin could not be loaded."""
    reason = f"{type(error).__name__}: {shown(str(error), 500)}".removesuffix(": ")
    if isinstance(error, SystemExit):
        return f"it ends Python at import ({reason}): its author must guard the script by `if __name__ == '__main__':`"
    return reason
