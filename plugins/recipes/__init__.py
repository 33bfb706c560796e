"""Recipes: named methods as data, a small YAML file each.

`views: byol` stands for the kinds of views in views/byol.yaml, which several methods have in common.
"""

from functools import partial
from pathlib import Path
from typing import Any

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Register
from ssl_pipeline.yaml_file import read_yaml


def read(path: Path) -> dict[str, Any]:
    """Return all that a recipe says."""
    content: dict[str, Any] = read_yaml(path)
    if isinstance(content.get("views"), str):
        content["views"] = read_yaml(path.parent / "views" / f"{content['views']}.yaml")
    return content


@hookimpl
def register_recipes(register: Register) -> None:
    """Add every YAML file of this folder under its name."""
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        register(path.stem, partial(read, path))
