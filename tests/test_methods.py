"""Recipes as whole methods: what they decide, what params.yaml overrides, and how they are shown."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import CliRunner

from ssl_pipeline import hookimpl
from ssl_pipeline.artifacts.assembly import needed_views
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.config import SIZES, Choice, Optimizer, PretrainConfig, PretrainSection, load
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.loading import load_registry
from ssl_pipeline.recipes import SMALL, method_of, resolve_views
from ssl_pipeline.registry import Registry
from ssl_pipeline.training.preparation import check_kinds
from ssl_pipeline.types import Register
from ssl_pipeline.yaml_file import read_yaml
from ssl_pipeline_plugins.backbones.resnet_cifar import ResNetCifar
from ssl_pipeline_plugins.optimizers.sgd import SGD
from ssl_pipeline_stages.plugins import plugins

DEFAULTS = load(Path(__file__).parents[1] / "params.yaml").pretrain
LEFT_TO_THE_RECIPE = dict.fromkeys(("backbone", "optimizer", "batch_size", "epochs", "warmup", "clip_norm"), "recipe")


def configured(**changes: Any) -> PretrainSection:
    return PretrainSection.model_validate({**DEFAULTS.model_dump(), **changes})


@pytest.mark.parametrize("name", load_registry().names("recipe"))
@pytest.mark.parametrize("size", SIZES)
def test_a_recipe_is_a_whole_method_in_both_sizes(name: str, size: str):
    """It gives every value that is left to it, and its views fit its task, fine-tuning and each other."""
    registry = load_registry()
    method = method_of(registry, configured(recipe=name, recipe_size=size, **LEFT_TO_THE_RECIPE))
    assert isinstance(method.pretrain, PretrainConfig)
    for kind, choice in (("backbone", method.pretrain.backbone), ("optimizer", method.pretrain.optimizer.choice)):
        registry.validate(registry.find(kind, choice.name), choice)
    needs = needed_views(registry, method.recipe.pretext_task)
    check_kinds(needs, name, method.views)
    forbidden = registry.find("pretext_task", method.recipe.pretext_task.name).factory.forbidden
    assert not any(forbidden & method.views[kind].active() for kind in needs.counts)
    assert method.views["plain"].size == method.views[needs.main].size


def test_the_values_of_params_yaml_are_those_of_the_small_recipe():
    method = method_of(load_registry(), configured(**LEFT_TO_THE_RECIPE))
    assert method.pretrain == method_of(load_registry(), DEFAULTS).pretrain


def test_a_value_of_params_yaml_goes_before_the_recipe_s():
    method = method_of(load_registry(), configured(recipe="byol", recipe_size="paper", **LEFT_TO_THE_RECIPE, seed=3))
    optimizer = {
        "name": "lars",
        "learning_rate": 3.2,
        "weight_decay": 1.5e-6,
        "momentum": 0.9,
        "trust_coefficient": 1e-3,
    }
    assert method.pretrain.optimizer.model_dump() == optimizer
    assert (method.pretrain.batch_size, method.pretrain.epochs, method.pretrain.seed) == (4096, 1000, 3)
    changed = configured(recipe="byol", recipe_size="paper", **(LEFT_TO_THE_RECIPE | {"batch_size": 64}))
    assert method_of(load_registry(), changed).pretrain == method.pretrain.model_copy(
        update={"batch_size": 64, "seed": 0}
    )


def test_the_two_views_of_byol_have_policies_of_their_own():
    first, second = method_of(load_registry(), configured(recipe="byol", recipe_size="paper")).views["global"].each
    assert [policy.gaussian_blur.p for policy in (first, second)] == [1.0, 0.1]
    assert [policy.solarize.p for policy in (first, second)] == [0.0, 0.2]


def test_views_are_the_recipe_s_where_params_yaml_says_so():
    method, own = method_of(load_registry(), configured(recipe="flip")), Policy(size=8)
    assert resolve_views(method, "recipe") == method.views
    assert resolve_views(method, {"global": own, "plain": "recipe"}) == {"global": own, "plain": method.views["plain"]}
    words = (
        r"augment.views.local: recipe 'flip' in the size 'small' has no views of this kind \(it has: global, plain\)"
    )
    with pytest.raises(ConfigError, match=words):
        resolve_views(method, {"local": "recipe"})


def bare(registry: Registry) -> Registry:
    """Return the registry with a third-party recipe that names parts only."""

    class Plugin:
        @hookimpl
        def register_recipes(self, register: Register) -> None:
            register("bare", lambda: {"pretext_task": "rotation"})

    registry.add(Plugin(), "a-plugin", "1")
    return registry


def test_a_recipe_that_names_parts_alone_is_learned_as_all_small_ones_are():
    method = method_of(bare(load_registry()), configured(recipe="bare", **LEFT_TO_THE_RECIPE))
    assert method.pretrain.optimizer == DEFAULTS.optimizer
    assert method.pretrain.backbone == DEFAULTS.backbone
    assert method.views == SMALL.views


def test_a_small_recipe_has_the_backbone_and_the_optimizer_that_offer_themselves_or_they_have_to_be_written():
    class Offered(ResNetCifar):
        small_options: ClassVar = {"depth": 14}

    class Slow(SGD):
        small_options: ClassVar = {"learning_rate": 1e-4, "weight_decay": 0.0, "nesterov": False}

    class Optimizers:
        @hookimpl
        def register_optimizers(self, register: Register) -> None:
            register("slow", Slow)

    class Backbones:
        @hookimpl
        def register_backbones(self, register: Register) -> None:
            register("offered", Offered)

    section, registry = configured(recipe="bare", **LEFT_TO_THE_RECIPE), bare(Registry())
    with pytest.raises(
        ConfigError, match=r"pretrain.backbone: recipe 'bare' has no value for this key in the size 'small'\. Set"
    ):
        method_of(registry, section)
    registry.add(Backbones(), "another-plugin", "1")
    with pytest.raises(ConfigError, match=r"pretrain.optimizer: recipe 'bare' has no value for this key"):
        method_of(registry, section)
    registry.add(Optimizers(), "a-third-plugin", "1")
    found = method_of(registry, section).pretrain.optimizer.model_dump()
    assert found == {"name": "slow", **Slow.small_options}
    assert method_of(registry, section).pretrain.backbone == Choice(name="offered", depth=14)


def test_what_a_recipe_does_not_say_has_to_be_written():
    registry = bare(load_registry())
    section = configured(recipe="bare", recipe_size="paper", epochs="recipe")
    with pytest.raises(
        ConfigError, match=r"pretrain.epochs: recipe 'bare' has no value for this key in the size 'paper'\. Set"
    ):
        method_of(registry, section)
    with pytest.raises(ConfigError, match=r"augment.views: recipe 'bare' in the size 'paper' has no views\. Write"):
        resolve_views(method_of(registry, configured(recipe="bare", recipe_size="paper")), "recipe")


def test_a_recipes_warmup_fits_any_number_of_epochs():
    section = configured(recipe="mae", recipe_size="paper", epochs=30, warmup="recipe")
    assert method_of(load_registry(), section).pretrain.warmup == 0.05


@pytest.mark.parametrize("name", ["swav", "byol"])
def test_a_recipe_can_be_shown_as_params_yaml_would_have_it(name: str, tmp_path: Path):
    result = CliRunner().invoke(plugins, ["--recipe", name])
    assert result.exit_code == 0, result.output
    _, small, paper = result.output.split("# pretrain.recipe: ")
    (tmp_path / "shown.yaml").write_text(f"# {paper}", encoding="utf-8")
    shown = read_yaml(tmp_path / "shown.yaml")
    method = method_of(load_registry(), configured(recipe=name, recipe_size="paper", **LEFT_TO_THE_RECIPE))
    assert {kind: Policy.model_validate(value) for kind, value in shown["views"].items()} == method.views
    assert Optimizer.model_validate(shown["optimizer"]) == method.pretrain.optimizer
    assert shown["pretext_task"] == method.recipe.pretext_task.model_dump()
    assert "epochs: 40" in small


def test_an_unknown_recipe_cannot_be_shown():
    result = CliRunner().invoke(plugins, ["--recipe", "simclar"])
    assert result.exit_code == 2
    assert "unknown name 'simclar'. Did you mean 'simclr'?" in result.stderr
