"""plugins.lock: which third-party plugins a run uses, at which version and code.

DVC sees files, not installed packages. The lock is a file: `make repro` refreshes it, `pretrain` depends on it, so that
upgrading a plugin re-runs the stages that used it, and no other plugin's upgrade does.
"""

import hashlib
import importlib.metadata as metadata
import importlib.util
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ssl_pipeline.config import PretrainConfig
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.hookspecs import GROUP
from ssl_pipeline.products import sha256, write_json
from ssl_pipeline.recipes import resolve
from ssl_pipeline.registry import Entry, Registry

__all__ = ["check", "code_digest", "contents", "refresh", "used"]


Lock = dict[str, dict[str, Any]]
"""Distribution -> what `_Locked` says of it."""


class _Locked(BaseModel):
    """A distribution's version, the digest of its code in hex, and the kinds and names that the run takes from it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: str
    code: str
    provides: list[str]


def used(registry: Registry, config: PretrainConfig) -> list[Entry]:
    """The entries that a run takes part in: its recipe, task, loss, negatives and backbone."""
    recipe = resolve(registry, config)
    chosen = {**recipe.parts(), "backbone": config.backbone}
    named = {"recipe": config.recipe, **{kind: choice.name for kind, choice in chosen.items()}}
    return [registry.find(kind, name) for kind, name in named.items()]


def contents(registry: Registry, config: PretrainConfig) -> Lock:
    """Distribution -> version, digest of its code, and what the run takes from it; built-ins are left out."""
    lock: Lock = {}
    for entry in used(registry, config):
        if entry.distribution == "ssl-pipeline":
            continue
        item = lock.setdefault(
            entry.distribution, {"version": entry.version, "code": _code(entry.distribution), "provides": []}
        )
        item["provides"].append(f"{entry.kind} {entry.name}")
    return lock


def refresh(path: Path, registry: Registry, config: PretrainConfig) -> None:
    """Write the lock of the plugins now installed, only where it differs: an untouched file keeps DVC's caches valid.

    A lock that is damaged counts as none.

    Raises:
        ConfigError: A plugin that the run asks for is not installed.
    """
    locked = _read(path)
    current = _current(path, locked or {}, registry, config)
    if current != locked:
        write_json(path, current)


def check(path: Path, registry: Registry, config: PretrainConfig) -> Lock:
    """The lock, which must be that of the plugins now installed.

    Raises:
        ConfigError: It is damaged or out of date, or a locked plugin is not installed.
    """
    locked = _read(path) if path.exists() else {}
    if locked is None:
        raise ConfigError(f"{path} is damaged: run `python -m stages.plugins --lock`.")
    current = _current(path, locked, registry, config)
    if current != locked:
        raise ConfigError(
            f"{path} does not match the installed plugins ({_names(locked)} in the lock, {_names(current)} installed): "
            "run `python -m stages.plugins --lock`, then `dvc repro` again. `make repro` does both."
        )
    return locked


def _current(path: Path, locked: Lock, registry: Registry, config: PretrainConfig) -> Lock:
    """`contents`; what is missing is called by the name of the distribution that it came with."""
    try:
        return contents(registry, config)
    except ConfigError as error:
        installed = {distribution.name for distribution in metadata.distributions()}
        missing = [f"{name} {item['version']}" for name, item in locked.items() if name not in installed]
        if missing:
            raise ConfigError(
                f"{error}\n{path} says that it came with {', '.join(missing)}: pip install it again."
            ) from error
        raise


def code_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's Python and YAML files, in hex."""
    total = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.suffix in (".py", ".yaml")):
        total.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()


def _code(distribution: str) -> str:
    """Digest of the modules behind a distribution's entry points, so that an edit without a new version counts too."""
    points = metadata.distribution(distribution).entry_points.select(group=GROUP)
    places = sorted({place for point in points for place in _places(point.module)})
    digests = [code_digest(place) if place.is_dir() else sha256(place) for place in places]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _places(module: str) -> list[Path]:
    """Where the code of a module lies: its top package or file.

    A namespace package is nobody's own: below one it is the first package that is none, or the folder around a module,
    which may hold another distribution's modules too. Better a digest that changes too often than one of nothing.
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


def _read(path: Path) -> Lock | None:
    """The lock in a file; None if there is no file, or another thing in it.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        locked = TypeAdapter(dict[str, _Locked]).validate_json(path.read_bytes())
        return {name: item.model_dump() for name, item in locked.items()}
    except (FileNotFoundError, ValidationError):
        return None
    except OSError as error:
        remedy = "remove it, then run `python -m stages.plugins --lock`"
        raise ConfigError(f"{path} cannot be read ({error.strerror}): {remedy}.") from error


def _names(lock: Lock) -> str:
    return ", ".join(f"{name} {item['version']} [{item['code'][:8]}]" for name, item in lock.items()) or "none"
