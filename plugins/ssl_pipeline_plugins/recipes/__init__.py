"""Recipes: named methods as data, one small YAML file per method.

`views: byol` refers to the kinds of views in views/byol.yaml, which several methods share.

The comment at the head of each file names the sections of the paper that its values come from, what they were checked
against, and where they differ. Some differences apply to all recipes: the learning rate falls to 0, where some papers
end at a thousandth of the peak; biases and norms have no weight decay, as in SimCLR, BYOL or Barlow Twins, but unlike
MoCo or SimSiam; batch norms see the whole batch.
"""

from copy import deepcopy
from functools import cache, partial
from itertools import takewhile
from pathlib import Path
from typing import Any

from ssl_pipeline import hookimpl
from ssl_pipeline.types import Register
from ssl_pipeline.yaml_file import read_yaml


def read(path: Path) -> dict[str, Any]:
    """Return the content of a recipe, as a new copy."""
    return deepcopy(_content(path))


@cache  # a plan asks for the same recipes dozens of times
def _content(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_yaml(path)
    if isinstance(content.get("views"), str):
        content["views"] = read_yaml(path.parent / "views" / f"{content['views']}.yaml")
    return content


def head(path: Path) -> str:
    """Return the comment at the head of a file, which describes the method."""
    lines = takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines())
    return "\n".join(line.removeprefix("#").strip() for line in lines)


@hookimpl
def register_recipes(register: Register) -> None:
    """Add every YAML file of this folder under its name."""
    for path in sorted(Path(__file__).parent.glob("*.yaml")):
        recipe = partial(read, path)
        recipe.__doc__ = head(path)
        register(path.stem, recipe)
