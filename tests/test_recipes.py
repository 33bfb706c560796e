"""Recipes: named methods with overrides."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks.project import BACKBONES
from ssl_pipeline import hookimpl
from ssl_pipeline.artifacts.assembly import build_encoder, build_task
from ssl_pipeline.config import Choice, PretrainSection, load
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import resolve
from ssl_pipeline.types import Register

PARAMS = Path(__file__).parents[1] / "params.yaml"
DEFAULTS = load(PARAMS).pretrain


def configured(**changes: Any) -> PretrainSection:
    return PretrainSection.model_validate({**DEFAULTS.model_dump(), **changes})


def test_a_recipe_names_its_parts():
    recipe = resolve(load_registry(), configured(recipe="simclr"))
    assert recipe.loss == Choice(name="info_nce", temperature=0.2)
    assert list(recipe.parts()) == ["pretext_task", "loss", "negatives"]
    assert list(resolve(load_registry(), configured(recipe="rotation")).parts()) == ["pretext_task"]


def test_an_override_changes_one_option_or_replaces_the_part():
    registry = load_registry()
    recipe = resolve(registry, configured(pretext_task={"out_dim": 8}))
    assert recipe.pretext_task.options == {"hidden_dim": 256, "out_dim": 8}
    recipe = resolve(registry, configured(loss={"name": "other", "margin": 1}))
    assert recipe.loss == Choice(name="other", margin=1)


@pytest.mark.parametrize("name", load_registry().names("recipe"))
@pytest.mark.parametrize("size", ["small", "paper"])
def test_a_recipe_can_be_built_in_both_sizes(name: str, size: str):
    registry = load_registry()
    recipe = resolve(registry, configured(recipe=name, recipe_size=size))
    backbone = Choice.model_validate(BACKBONES.get(name, {"name": "resnet_cifar", "depth": 8, "width": 4}))
    pixels = 16 if size == "small" else 224
    encoder = build_encoder(registry, backbone, (0.5,) * 3, (0.25,) * 3, 0, pixels)
    task = build_task(registry, recipe, encoder, 0, pixels)
    assert set(recipe.parts()) == set(resolve(registry, configured(recipe=name)).parts())
    if size == "small":
        assert sum(weight.numel() for weight in task.parameters()) < 5e5
    else:
        assert recipe.pretext_task.options.get("hidden_dim", 512) >= 512


def test_the_paper_s_size_is_another_and_overrides_hold_in_both():
    registry = load_registry()
    paper = resolve(registry, configured(recipe="mocov2", recipe_size="paper", pretext_task={"out_dim": 8}))
    assert paper.negatives == Choice(name="queue", queue_size=65536)
    assert paper.pretext_task.options == {
        "hidden_dim": 2048,
        "out_dim": 8,
        "batch_norms": "none",
        "momentum": 0.999,
        "momentum_rises": False,
        "symmetric": False,
    }
    assert resolve(registry, configured(recipe="mocov2")).negatives == Choice(name="queue", queue_size=1024)
    replaced = resolve(registry, configured(recipe="nce"))  # the size may also replace a part
    assert replaced.negatives == Choice(name="in_batch")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"pretext_task": "rotation", "epochs": 0},
            r"recipe 'odd': epochs: 0 is too small; the smallest value is 1",
        ),
        ({"pretext_task": "rotation", "optimizer": {"nam": "sgd"}}, r"recipe 'odd': optimizer.name: missing"),
        ({"pretext_task": "rotation", "views": {"global": {}}}, r"recipe 'odd': views.global.size: missing"),
        (
            {"pretext_task": "rotation", "small": {"views": {"global": {"size": 8, "gaussian_blu": {}}}}},
            r"recipe 'odd': small.views.global.gaussian_blu: unknown key. Did you mean 'gaussian_blur'",
        ),
        ({"pretext_task": "rotation", "smal": {}}, r"recipe 'odd': smal: unknown key. Did you mean 'small'"),
        ({"pretext_task": "rotation", "small": {"los": {}}}, r"recipe 'odd': small.los: unknown key. Did you"),
        ({"pretext_task": "rotation", "small": {"loss": {"margin": 1}}}, r"odd': small.loss: it has none. Name"),
        ({"pretext_task": "rotation", "embedded": {}}, r"odd': the key 'embedded' is now called 'small': rename it"),
        ({"pretext_task": "rotation", "warmup_epochs": 4}, r"odd': the key 'warmup_epochs' is now 'warmup', the share"),
        ({"loss": "triplet"}, r"recipe 'odd': pretext_task: missing"),
    ],
)
def test_a_recipe_that_is_not_well_formed_is_refused_by_its_name(content: dict[str, Any], message: str):
    registry = load_registry()

    class Plugin:
        @hookimpl
        def register_recipes(self, register: Register) -> None:
            register("odd", lambda: content)

    registry.add(Plugin(), "odd-plugin", "1")
    with pytest.raises(ConfigError, match=message):
        resolve(registry, configured(recipe="odd"))


def test_an_override_of_a_part_that_is_not_there_needs_a_name():
    with pytest.raises(ConfigError, match=r"pretrain.loss: recipe 'rotation' has none\. Name one"):
        resolve(load_registry(), configured(recipe="rotation", loss={"temperature": 1}))


def test_an_unknown_recipe_is_named():
    with pytest.raises(ConfigError, match=r"pretrain.recipe: unknown name 'simclar'. Did you mean 'simclr'"):
        resolve(load_registry(), configured(recipe="simclar"))
