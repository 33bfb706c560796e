"""The plugins that a run uses: their code, and plugins.lock, which records the origin of third-party ones."""

import hashlib
import importlib.metadata as metadata
import importlib.util
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ssl_pipeline.config import RECIPE, Config, PretrainSection
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.hookspecs import GROUP
from ssl_pipeline.plugin_sources import HOME
from ssl_pipeline.products import digest, sha256, write_json
from ssl_pipeline.provenance.modules import Packages, closure, folder_digest, imported

__all__ = [
    "TRAINING",
    "Found",
    "Used",
    "Uses",
    "code",
    "distributions",
    "lock",
    "method",
    "missing_is_told",
    "operations",
    "origins",
    "remembered",
    "used_plugin",
    "views",
]

if TYPE_CHECKING:
    from ssl_pipeline.registry import Entry, Registry


TRAINING = ("ssl_pipeline.training.preparation", "ssl_pipeline.training.pretraining")
"""Modules that determine a pretraining run, from its parameters to its weights; a checkpoint belongs to this code."""


class Used(NamedTuple):
    """A registered plugin that a run uses.

    Attributes:
        kind: Kind of the plugin, such as loss.
        name: Name that it is registered under.
        module: Module that registers it.
        distribution: Distribution that contains it, or the file in the user's project.
        version: Version of the distribution or of the file.
        content: Digest of its content if it is data, as a recipe is; otherwise "".
    """

    kind: str
    name: str
    module: str
    distribution: str
    version: str
    content: str = ""


Uses = dict[str, list[Used]]
"""Stage -> plugins that it uses."""


class _Locked(BaseModel):
    """Version of a distribution, and the kinds and names of the plugins that the run takes from it."""

    model_config = ConfigDict(strict=True)  # extra keys are allowed: earlier versions also wrote a digest

    version: str
    provides: list[str]


def used_plugin(entry: "Entry", content: str = "") -> Used:
    """Return an entry of the registry without its factory; `content` is its digest if it is data."""
    return Used(entry.kind, entry.name, entry.module, entry.distribution, entry.version, content)


class Found(NamedTuple):
    """Result of the inventory of code.

    Attributes:
        uses: Stage -> plugins that it uses.
        code: Stage -> all code that it can run, as `code` returns it.
    """

    uses: Uses
    code: dict[str, dict[str, str]]


def method(registry: "Registry", config: PretrainSection) -> list[Used]:
    """Return the plugins that pretraining uses: its recipe, task, loss, negatives, backbone and optimizer.

    Raises:
        ConfigError: One of them does not exist.
    """
    from ssl_pipeline.recipes import method_of

    found = method_of(registry, config)
    chosen = {**found.recipe.parts(), "backbone": found.pretrain.backbone, "optimizer": found.pretrain.optimizer.choice}
    # A recipe is data: its digest covers the values that are taken from it, not the way they were written
    left = {name for name, value in config if isinstance(value, str) and value == RECIPE}
    said = [found.recipe.model_dump(mode="json"), found.pretrain.model_dump(mode="json", include=left)]
    recipe = used_plugin(registry.find("recipe", config.recipe), digest(said))
    return [recipe, *(used_plugin(registry.find(kind, choice.name)) for kind, choice in chosen.items())]


def views(registry: "Registry", config: PretrainSection) -> list[Used]:
    """Return the recipe as the source of those views that params.yaml leaves to it.

    Raises:
        ConfigError: There is no such recipe.
    """
    from ssl_pipeline.recipes import method_of

    said = {kind: policy.model_dump(mode="json") for kind, policy in method_of(registry, config).views.items()}
    entry = registry.find("recipe", config.recipe)
    return [used_plugin(entry, digest(said))._replace(kind="views of recipe")]


def operations(registry: "Registry", config: Config) -> list[Used]:
    """Return the plugins whose operations are applied to some view of the run.

    Raises:
        ConfigError: One of them does not exist.
    """
    from ssl_pipeline.operations import operations_used
    from ssl_pipeline.recipes import method_of, resolve_views

    policies = resolve_views(method_of(registry, config.pretrain), config.augment.views)
    return [used_plugin(entry) for entry in operations_used(registry, policies)]


def origins(used: Iterable[Used]) -> dict[str, str]:
    """Return the sources of plugins that are not built in: distribution or file -> version."""
    return {plugin.distribution: plugin.version for plugin in used if plugin.distribution != "ssl-pipeline"}


def code(
    packages: Packages, modules: Iterable[str], used: Iterable[Used], without: Collection[str] = ()
) -> dict[str, str]:
    """Return all code that some modules and the plugins in use can run, as names and digests.

    Args:
        packages: Packages of the pipeline, including the built-in plugins.
        modules: Modules to begin with; see `closure`.
        used: Plugins in use; those in `packages` contribute their modules, others all code of their distribution.
        without: Modules to leave out; see `closure`.

    Returns:
        Module, distribution with version, or recipe -> SHA-256 in hex.
    """
    begin, digests = list(modules), {}
    for plugin in used:
        if plugin.content:
            digests[f"{plugin.kind} {plugin.name}"] = plugin.content
        if _own(packages, plugin):
            begin.append(plugin.module)
        else:
            digests[f"{plugin.distribution} {plugin.version}"] = distribution_digest(plugin.distribution)
            files = [file for place in _places_of(plugin.distribution) for file in _files(place)]
            begin += [module for file in files for module in imported(packages, file)]
    return {**closure(packages, begin, without), **digests}


def distributions() -> dict[str, str]:
    """Return every other installed distribution with plugins: name and version -> digest of its code."""
    found = {point.dist.name: point.dist for point in metadata.entry_points(group=GROUP) if point.dist}
    return {f"{name} {found[name].version}": distribution_digest(name) for name in sorted(found) if name != HOME}


def remembered(path: Path, state: Any, ask: Callable[[], Found]) -> Found:
    """Return the answer of `ask`, from a cache if the state has not changed: asking loads every plugin, and torch.

    Args:
        path: Path of the cache; a damaged file is treated as missing.
        state: Everything that the answer depends on, as JSON values.
        ask: Function that finds the plugins and the code of each stage.
    """
    now = digest(state)
    try:
        known, found = TypeAdapter(tuple[str, Found]).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        known, found = "", Found({}, {})
    if known != now:
        found = ask()
        write_json(path, [now, found])
    return found


def lock(path: Path, packages: Packages, used: Iterable[Used]) -> None:
    """Record the third-party distributions that a run uses, but only if they differ from those in the lock.

    Args:
        path: Path of the lock, which is tracked by git; a damaged file is treated as missing.
        packages: Packages of the pipeline, which are not recorded.
        used: Plugins that all stages use.
    """
    plugins = list(used)
    third_parties = {plugin.distribution: plugin.version for plugin in plugins if not _own(packages, plugin)}
    current = {
        name: {
            "version": version,
            "provides": sorted({f"{plugin.kind} {plugin.name}" for plugin in plugins if plugin.distribution == name}),
        }
        for name, version in third_parties.items()
    }
    if current != _read(path):
        write_json(path, current)


@contextmanager
def missing_is_told(path: Path) -> Iterator[None]:
    """Add the locked distributions that are not installed to a ConfigError: one may contain what is missing."""
    try:
        yield
    except ConfigError as error:
        installed = {distribution.name for distribution in metadata.distributions()}
        locked = _read(path) or {}
        missing = [f"{name} {item['version']}" for name, item in locked.items() if name not in installed]
        if missing:
            raise ConfigError(
                f"{error}\nAccording to {path}, it came with {', '.join(missing)}: pip install it again."
            ) from error
        raise


def _own(packages: Packages, plugin: Used) -> bool:
    return plugin.module.partition(".")[0] in packages


def distribution_digest(distribution: str) -> str:
    """Return the digest of the modules behind a distribution's entry points; it reveals edits without a new version."""
    digests = [folder_digest(place) if place.is_dir() else sha256(place) for place in _places_of(distribution)]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _places_of(distribution: str) -> list[Path]:
    points = metadata.distribution(distribution).entry_points.select(group=GROUP)
    return sorted({place for point in points for place in _places(point.module)})


def _files(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _places(module: str) -> list[Path]:
    """Return the location of a module's code: its top-level package or file.

    A namespace package belongs to no single distribution. Below one, the location is the first regular package, or the
    folder of a module, which may also hold modules of another distribution. A digest that changes too often is better
    than one that covers nothing.
    """
    names = module.split(".")
    for depth in range(1, len(names) + 1):
        spec = importlib.util.find_spec(".".join(names[:depth]))
        if spec is None:
            return []
        if spec.has_location and spec.origin:
            alone = spec.submodule_search_locations is None and depth == 1
            return [Path(spec.origin) if alone else Path(spec.origin).parent]
    return [Path(place) for place in spec.submodule_search_locations or ()] if spec else []


def _read(path: Path) -> dict[str, dict[str, Any]] | None:
    """Return the contents of a lock, or None if the file does not exist or is not a lock.

    Raises:
        ConfigError: The file cannot be read.
    """
    try:
        locked = TypeAdapter(dict[str, _Locked]).validate_json(path.read_bytes())
        return {name: item.model_dump() for name, item in locked.items()}
    except (FileNotFoundError, ValidationError):
        return None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}): remove it, then run `dvc repro`.") from error
