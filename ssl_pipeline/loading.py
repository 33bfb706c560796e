"""Load the registry of a project: built-in plugins, installed plugins, and the project's own."""

from typing import TYPE_CHECKING

from ssl_pipeline.plugin_sources import OWN, built_in
from ssl_pipeline.registry import Registry

if TYPE_CHECKING:
    from ssl_pipeline.config import Choice
    from ssl_pipeline.data.source import Source

__all__ = ["load_registry", "load_source"]


def load_registry() -> Registry:
    """Return a registry with built-in plugins, installed plugins, and those of the project in the current folder."""
    registry = Registry()
    registry.load_builtin(built_in())
    registry.load_others(OWN)
    return registry


def load_source(choice: "Choice") -> "Source":
    """Build the chosen source of images. For a built-in source, only sources are loaded, without torch.

    Raises:
        ConfigError: There is no such source, or it refuses its options.
    """
    registry = Registry()
    registry.load_builtin(built_in("sources"))
    if choice.name not in registry.names("source"):
        registry = load_registry()
    source: Source = registry.build("source", choice, "ingest.source")
    return source
