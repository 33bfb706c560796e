"""Recipes: named methods as data, a small YAML file each."""

from functools import partial
from pathlib import Path
from typing import Any

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Register
from ssl_pipeline.yaml_file import read_yaml


def read(path: Path) -> dict[str, Any]:
    """A recipe's parts."""
    content: dict[str, Any] = read_yaml(path)
    return content


@hookimpl
def register_recipes(register: Register) -> None:
    """Add every YAML file of this folder under its name."""
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        register(path.stem, partial(read, path))
