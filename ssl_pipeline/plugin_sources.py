"""Where plugins come from: installed distributions, by their entry points, and files in a folder of the project."""

import importlib
import importlib.metadata as metadata
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ssl_pipeline.hookspecs import GROUP
from ssl_pipeline.products import sha256

__all__ = ["PluginSource", "in_folder", "installed"]


class PluginSource(NamedTuple):
    """A plugin that can be loaded.

    Attributes:
        name: The name of its entry point or file.
        distribution: The distribution that brings it, or the path of its file.
        version: The distribution's version, or the first digits of the file's SHA-256.
        load: Imports it.
    """

    name: str
    distribution: str
    version: str
    load: Callable[[], object]


def installed() -> list[PluginSource]:
    """Return the plugins of all installed distributions, by the names of their entry points."""
    points = sorted(metadata.entry_points(group=GROUP), key=lambda point: (point.name, point.value))
    return [
        PluginSource(
            point.name,
            point.dist.name if point.dist else "unknown",
            point.dist.version if point.dist else "",
            point.load,
        )
        for point in points
    ]


def in_folder(folder: Path) -> list[PluginSource]:
    """Return the plugins in a folder: every Python file and package there whose name does not begin with `_` or a dot.

    They are imported as `<folder>.<name>`, so that they can import each other and their helpers, `_<name>.py`, by
    `from . import _name`.
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
    """Import a module of a folder, which need not lie on Python's path."""
    package = sys.modules.get(folder.name)
    if package is None or list(getattr(package, "__path__", ())) != [str(folder)]:
        for module in [module for module in sys.modules if module.partition(".")[0] == folder.name]:
            del sys.modules[module]  # those of another project in this process
        package = ModuleType(folder.name, "The project's own plugins.")
        package.__path__ = [str(folder)]
        sys.modules[folder.name] = package
    importlib.invalidate_caches()  # files may be younger than what Python remembers of the folder
    return importlib.import_module(f"{folder.name}.{name}")
