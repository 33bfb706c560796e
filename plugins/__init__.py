"""The built-in methods, one idea a file. They use the same hooks as everybody's plugins, and get no favours."""

import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ssl_pipeline.registry import Registry


def builtin() -> list[str]:
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
    from ssl_pipeline.registry import Registry  # imports torch: only when asked

    registry = Registry()
    registry.load(builtin(), OWN)
    return registry
