"""The built-in methods, one idea a file. They use the same hooks as everybody's plugins, and get no favours."""

import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl_pipeline.config import Choice
    from ssl_pipeline.data.source import Source
    from ssl_pipeline.registry import Registry


def built_in() -> list[str]:
    """Return the modules of the built-in plugins: each module in a folder of this one, or the folder if it has none."""
    found = []
    for package in pkgutil.iter_modules(__path__, f"{__name__}."):
        folder = Path(__path__[0], package.name.rpartition(".")[2])
        modules = [module.name for module in pkgutil.iter_modules([str(folder)], f"{package.name}.")]
        found += modules or [package.name]
    return found


OWN = Path("my_plugins")
"""The folder of a project's own plugins, beside params.yaml."""


def load_registry() -> "Registry":
    """Return a registry with the built-ins, all installed plugins, and those of the project in the current folder."""
    from ssl_pipeline.registry import Registry

    registry = Registry()
    registry.load_builtin(built_in())
    registry.load_others(OWN)
    return registry


def load_source(choice: "Choice") -> "Source":
    """Build the source of images that is chosen. Of a built-in one, this loads its kind alone, and so no torch.

    Raises:
        ConfigError: There is no such source, or it refuses its options.
    """
    from ssl_pipeline.registry import Registry

    registry = Registry()
    registry.load_builtin(name for name in built_in() if name.startswith(f"{__name__}.sources."))
    if choice.name not in registry.names("source"):
        registry = load_registry()
    source: Source = registry.build("source", choice, "ingest.source")
    return source
