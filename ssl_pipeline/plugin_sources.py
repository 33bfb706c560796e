"""Sources of plugins: entry points of installed distributions, and files in a folder of the project."""

import importlib
import importlib.metadata as metadata
import importlib.util
import pkgutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ssl_pipeline.hookspecs import GROUP
from ssl_pipeline.products import sha256

__all__ = ["OWN", "PluginSource", "built_in", "in_folder", "installed"]

HOME = "ssl-pipeline"
"""Distribution that contains the built-in plugins."""

OWN = Path("my_plugins")
"""Folder of a project's own plugins, beside params.yaml."""


class PluginSource(NamedTuple):
    """Plugin that can be loaded.

    Attributes:
        name: Name of the plugin's entry point or file.
        distribution: Distribution that contains the plugin, or path of its file.
        version: Version of the distribution, or the first digits of the file's SHA-256.
        load: Function that imports the plugin.
    """

    name: str
    distribution: str
    version: str
    load: Callable[[], object]


def built_in(kind: str = "") -> list[str]:
    """Return the names of the built-in plugins' modules, without importing any.

    The entry point of this distribution names a package with one folder per kind. Every module in such a folder is a
    plugin; a folder without modules is a plugin itself.

    Args:
        kind: Only folder to search, such as `sources`; "" to search all folders.
    """
    found = []
    for point in metadata.entry_points(group=GROUP):
        spec = importlib.util.find_spec(point.value) if point.dist and point.dist.name == HOME else None
        for place in (spec and spec.submodule_search_locations) or ():
            for folder in pkgutil.iter_modules([place], f"{point.value}."):
                name = folder.name.rpartition(".")[2]
                modules = [module.name for module in pkgutil.iter_modules([str(Path(place, name))], f"{folder.name}.")]
                found += (modules or [folder.name]) if kind in ("", name) else []
    return found


def installed() -> list[PluginSource]:
    """Return the plugins of all other installed distributions, sorted by the names of their entry points."""
    points = sorted(metadata.entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    return [
        PluginSource(
            point.name,
            point.dist.name if point.dist else "unknown",
            point.dist.version if point.dist else "",
            point.load,
        )
        for point in points
        if point.dist is None or point.dist.name != HOME
    ]


def in_folder(folder: Path) -> list[PluginSource]:
    """Return the plugins in a folder: every Python file and package whose name does not begin with `_` or a dot.

    Plugins are imported as `<folder>.<name>`, so that they can import each other, and their helper modules
    `_<name>.py`, by `from . import _name`.
    """
    packages = [path for path in folder.glob("*/__init__.py") if path.is_file()]
    places = [(path.parent, path) for path in packages] + [
        (path, path) for path in folder.glob("*.py") if path.is_file()
    ]
    return [
        PluginSource(
            place.stem,
            f"{folder.name}/{place.name}",
            sha256(file)[:8],
            partial(_import, folder.resolve(), place.stem),
        )
        for place, file in sorted(places)
        if not place.name.startswith(("_", "."))
    ]


def _import(folder: Path, name: str) -> ModuleType:
    """Import a module from a folder that need not be on Python's path."""
    package = sys.modules.get(folder.name)
    if package is None or list(getattr(package, "__path__", ())) != [str(folder)]:
        for module in [module for module in sys.modules if module.partition(".")[0] == folder.name]:
            del sys.modules[module]  # modules of another project in this process
        package = ModuleType(folder.name, "The project's own plugins.")
        package.__path__ = [str(folder)]
        sys.modules[folder.name] = package
    importlib.invalidate_caches()  # files may be newer than Python's cache of the folder
    return importlib.import_module(f"{folder.name}.{name}")
