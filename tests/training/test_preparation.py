"""What does not fit a task is refused before training: its views' size, what it cuts from them, their operations."""

import pytest

from plugins import load_registry
from ssl_pipeline.augment.policy import Policy
from ssl_pipeline.errors import ConfigError
from ssl_pipeline.recipes import resolve
from ssl_pipeline.training.preparation import build, fingerprint


@pytest.fixture
def built(configure, pool):
    """A function of a recipe, its kinds of views and other values that builds its task."""

    def go(recipe, views, **values):
        policies = {kind: Policy.model_validate(view) for kind, view in views.items()}
        config, registry = configure(recipe=recipe, **values), load_registry()
        return build(registry, resolve(registry, config), config, pool, policies)

    return go


def test_a_task_is_built_for_the_kind_of_view_that_it_learns_from(built):
    """Whether it is the larger one or the smaller one, and though the task would refuse the other."""
    assert built("jigsaw", {"global": {"size": 8}, "plain": {"size": 16}}).tiling.size == 16
    assert built("jigsaw", {"global": {"size": 32}, "plain": {"size": 16}}).tiling.size == 16
    own = built("jigsaw", {"global": {"size": 8}, "own": {"size": 20}}, pretext_task={"view": "own"})
    assert (own.tiling.size, own.views) == (20, {"own": 1})
    with pytest.raises(ConfigError, match=r"jigsaw: views of 8 px are too small for 2 x 2 tiles"):
        built("jigsaw", {"global": {"size": 32}, "plain": {"size": 8}})
    with pytest.raises(ConfigError, match=r"augment\.views\.plain: missing, but pretext task 'jigsaw'"):
        built("jigsaw", {"global": {"size": 32}})


@pytest.mark.parametrize(
    ("recipe", "side", "model"), [("jigsaw", 5, "test_vit"), ("relative_patch", 4, "vit_tiny_patch16_224")]
)
def test_a_backbone_for_one_size_is_refused_where_tiles_have_another(built, recipe, side, model):
    transformer = {"name": f"timm/{model}", "patch_size": 2}
    views = {"global": {"size": 16}, "plain": {"size": 16}}
    words = rf"pretrain\.backbone: .*'timm/{model}', built for the 16 px of .*plain, cannot take the task's tiles of {side} px"
    with pytest.raises(ConfigError, match=words):
        built(recipe, views, backbone=transformer)
    assert built("flip", views, backbone=transformer).parts == {}


@pytest.mark.parametrize(
    ("recipe", "operation"),
    [("flip", "horizontal_flip"), ("flip", "vertical_flip"), ("jigsaw", "rotation"), ("relative_patch", "rotation")],
)
def test_operations_that_give_an_answer_away_are_refused_in_the_kind_that_is_learned_from(built, recipe, operation):
    spoiling = {"size": 16, operation: {"p": 0.5} | ({"degrees": 10} if operation == "rotation" else {})}
    with pytest.raises(ConfigError, match=rf"augment\.views\.plain\.{operation}: pretext task '{recipe}'"):
        built(recipe, {"plain": spoiling})
    built(recipe, {"plain": spoiling, "own": {"size": 16}}, pretext_task={"view": "own"})


def test_what_ends_a_run_does_not_make_it_another(build_small, configure, policies, pool):
    def of(**values):
        config = configure(**values)
        return fingerprint(config, build_small(config), policies, pool, "code")

    bounds = {"min_embedding_std": 0.5, "min_effective_rank": 0.5}
    assert of() == of(on_collapse="warn", collapse=bounds, checkpoint_minutes=0.0)
    assert of() != of(epochs=5)
