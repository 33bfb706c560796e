"""A recipe: a whole method as data, in `mirrored.yaml` beside this file."""

from pathlib import Path
from typing import Any

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Register
from ssl_pipeline.yaml_file import read_yaml


def mirrored() -> dict[str, Any]:
    """Return the contents of the recipe."""
    content: dict[str, Any] = read_yaml(Path(__file__).parent / "mirrored.yaml")
    return content


@hookimpl
def register_recipes(register: Register) -> None:
    """Add `example_plugin_mirrored`."""
    register("example_plugin_mirrored", mirrored)
