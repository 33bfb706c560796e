"""Options of the recipes in the size `paper` against a table of the papers' values, with reasons for differences."""

import inspect
import itertools
import re
from pathlib import Path
from typing import Any

import pytest

from ssl_pipeline.config import Choice
from ssl_pipeline.loading import load_registry
from ssl_pipeline.parts.tiles import Tiling
from ssl_pipeline_plugins import recipes
from tests.plugins.film_papers import FILM_PAPERS
from tests.plugins.papers import PAPERS as OF_IMAGES
from tests.plugins.papers import Ours
from tests.plugins.teacher_papers import TEACHER_PAPERS

REGISTRY = load_registry()
PAPERS = OF_IMAGES | FILM_PAPERS | TEACHER_PAPERS
RECIPES = sorted(Path(recipes.__file__).parent.glob("*.yaml"))
PARTS = {"task": "pretext_task", "loss": "loss", "negatives": "negatives"}


def options(recipe: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return two mappings from `part.option` to a value: those that a recipe sets, and these with all defaults."""
    given, holds = {}, {}
    parts = REGISTRY.build("recipe", Choice(name=recipe))
    for short, kind in PARTS.items():
        if kind not in parts:
            continue
        own = {name: value for name, value in parts[kind].items() if name != "name"}
        signature = inspect.signature(REGISTRY.find(kind, parts[kind]["name"]).factory).parameters
        defaults = {name: one.default for name, one in signature.items() if one.default is not one.empty}
        given |= {f"{short}.{name}": value for name, value in own.items()}
        holds |= {f"{short}.{name}": value for name, value in (defaults | own).items()}
    return given, holds


def test_every_recipe_is_in_the_table():
    assert set(PAPERS) == set(REGISTRY.names("recipe"))


@pytest.mark.parametrize("recipe", REGISTRY.names("recipe"))
def test_a_recipe_in_the_size_paper_has_the_paper_s_numbers(recipe: str):
    given, holds = options(recipe)
    assert set(given) <= set(PAPERS[recipe])
    assert {name: holds[name] for name in PAPERS[recipe]} == {name: one.value for name, one in PAPERS[recipe].items()}


@pytest.mark.parametrize("recipe", REGISTRY.names("recipe"))
def test_a_value_has_a_place_in_its_source_or_a_reason(recipe: str):
    for one in PAPERS[recipe].values():
        assert all((one.source, one.why)) if isinstance(one, Ours) else one.where


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_a_recipe_says_what_its_training_was_checked_against_or_that_it_was_not(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    head = " ".join(itertools.takewhile(lambda line: line.startswith("#"), lines))
    assert re.search(r"Checked against the authors' code \(\S+/\S+|Not checked", head)


@pytest.mark.parametrize(("recipe", "view", "tile"), [("jigsaw", 225, 64), ("relative_patch", 400, 96)])
def test_tiles_have_the_paper_s_side(recipe: str, view: int, tile: int):
    _, holds = options(recipe)
    assert Tiling(view, count=3, gap=holds["task.gap"], jitter=holds["task.jitter"], channels="one").side == tile
